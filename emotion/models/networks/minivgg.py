"""Study B's network from scratch (Chaibainou: Facial emotion recognition using CNN): a small VGG for 48×48 faces."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn


class MiniVgg(nn.Module):
    """Blocks of 3×3 convolutions and max-pooling, then dense layers.

    Args:
        img_size: edge of the input in pixels; the flattened features, and so the first dense layer, depend on it.
        blocks: channels of the convolutions of each block; every block ends in a max-pooling by 2.
        hidden: units of the dense layers before the output.
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = 48,
        drop_rate: float = 0.0,
        blocks: Sequence[Sequence[int]] = ((32, 32), (64, 64), (128, 128, 128)),
        hidden: Sequence[int] = (512, 512),
    ) -> None:
        super().__init__()
        edge = img_size if isinstance(img_size, int) else img_size[0]
        layers: list[nn.Module] = []
        channels = in_chans
        for block in blocks:
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        units = channels * (edge // 2 ** len(blocks)) ** 2
        dense: list[nn.Module] = [nn.Flatten()]
        for width in hidden:
            dense += [nn.Linear(units, width), nn.ReLU(inplace=True)]
            units = width
        self.dense = nn.Sequential(*dense)
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = units
        self.num_classes = num_classes
        self.classifier: nn.Module = nn.Linear(units, num_classes) if num_classes else nn.Identity()
        self.apply(_init_as_keras)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) float → (N, 128, H/8, W/8)."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = nn.functional.dropout(self.dense(x), self.drop_rate, self.training)
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


@torch.no_grad()
def _init_as_keras(module: nn.Module) -> None:
    """Keras' defaults, which the report trained with: Glorot's uniform weights (2010, eq. 16), biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


default_cfgs = generate_default_cfgs(
    {
        "minivgg": {
            "input_size": (1, 48, 48),
            "min_input_size": (1, 8, 8),
            "fixed_input_size": True,
            "num_classes": 7,
            "mean": (0.5,),
            "std": (0.25,),
            "first_conv": "features.0",
            "classifier": "classifier",
        },
    }
)


@register_model
def minivgg(pretrained: bool = False, **kwargs: Any) -> MiniVgg:
    """3 blocks 32-32, 64-64, 128-128-128, dense 512-512: 3,060,071 weights with 7 classes."""
    return build_model_with_cfg(MiniVgg, "minivgg", pretrained, **kwargs)
