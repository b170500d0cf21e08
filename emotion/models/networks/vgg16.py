"""VGG16 (Simonyan & Zisserman 2015) cut after any block, for the transfer rows of studies B and D."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import SelectAdaptivePool2d
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from emotion.models.networks.conv_dense import ConvDense, activation

_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Vgg16Blocks(ConvDense):
    """VGG16's blocks, each ending in its pooling, without the dense layers.

    Args:
        global_pool: timm's name of the pooling of each level; "" keeps the maps.
        blocks: how many of the five blocks are kept.
        levels: the blocks (from 1) whose outputs are pooled and concatenated; () for the last alone.
        act_layer: timm's name of the activation.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
        blocks: int = 5,
        levels: Sequence[int] = (),
        act_layer: str = "relu",
    ) -> None:
        levels = tuple(levels) or (blocks,)
        if not (1 <= blocks <= len(_WIDTHS) and max(levels) == blocks and min(levels) >= 1):
            raise ValueError(
                f"expected blocks from 1 to {len(_WIDTHS)} and levels from 1 to blocks, that one included, "
                f"found blocks={blocks} and levels={levels}"
            )
        features, channels = nn.Sequential(), in_chans
        for widths in _WIDTHS[:blocks]:
            layers: list[nn.Module] = []
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), activation(act_layer)]
                channels = width
            features.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=True)
        super().__init__(features, pool, sum(_WIDTHS[n - 1][-1] for n in levels), num_classes, drop_rate)
        self.levels = levels
        self.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.levels) == 1:
            return super().forward(x)
        found = []
        for number, layers in enumerate(self.features.children(), 1):
            x = layers(x)
            if number in self.levels:
                found.append(self.dense(x).flatten(1))
        return self.classifier(self.head_drop(torch.cat(found, 1)))

    def from_published(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """timm's tensors of vgg16 under our names, without those of blocks and layers that are not here."""
        convs = [
            f"features.{number}.{place}"
            for number, layers in enumerate(self.features.children())
            for place, layer in enumerate(layers.children())
            if isinstance(layer, nn.Conv2d)
        ]
        theirs = sorted({int(m[1]) for key in state if (m := re.fullmatch(r"features\.(\d+)\.weight", key))})
        names = dict(zip(theirs, convs, strict=False))
        return {
            f"{names[int(m[1])]}.{m[2]}": tensor
            for key, tensor in state.items()
            if (m := re.fullmatch(r"features\.(\d+)\.(\w+)", key)) and int(m[1]) in names
        }


def _init(module: nn.Module) -> None:
    """He's normal weights by fan-out (2015), biases 0, as torchvision and timm start VGG."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        assert module.bias is not None
        nn.init.zeros_(module.bias)


default_cfgs = generate_default_cfgs(
    {
        "vgg16_blocks.tv_in1k": {
            "hf_hub_id": "timm/vgg16.tv_in1k",
            "input_size": (3, 224, 224),
            "num_classes": 1000,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "features.0.0",
            "classifier": "classifier",
        },
    }
)


@register_model
def vgg16_blocks(pretrained: bool = False, **kwargs: Any) -> Vgg16Blocks:
    """7,635,264 weights with `blocks=4` (study B), 14,714,688 with all five (study D), without a head."""
    return build_model_with_cfg(
        Vgg16Blocks,
        "vgg16_blocks",
        pretrained,
        pretrained_filter_fn=lambda state, model: model.from_published(state),
        **kwargs,
    )
