"""Study B's networks from scratch (Chaibainou: Facial emotion recognition using CNN): small VGGs for 48×48 faces."""

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from emotion.models.layers import Dropout
from emotion.models.networks.conv_dense import ConvDense, activation, as_keras, edge, flat_units


class MiniVgg(ConvDense):
    """Blocks of 3×3 convolutions and max-pooling, then dense layers.

    Args:
        img_size: edge of the input in pixels; the flattened features, and so the first dense layer, depend on it.
        blocks: channels of the convolutions of each block; every block ends in a max-pooling by 2.
        hidden: units of the dense layers before the output.
        batch_norm: after the activation of every convolution and dense layer.
        conv_dropout: for each convolution of each block, the dropout after it; () for none at all.
        dense_dropout: for each dense layer, the dropout after it; () for none at all.
        act_layer: timm's name of the activation.
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = 48,
        drop_rate: float = 0.0,
        blocks: Sequence[Sequence[int]] = ((32, 32), (64, 64), (128, 128, 128)),
        hidden: Sequence[int] = (512, 512),
        batch_norm: bool = False,
        conv_dropout: Sequence[Sequence[float]] = (),
        dense_dropout: Sequence[float] = (),
        act_layer: str = "relu",
    ) -> None:
        layers: list[nn.Module] = []
        channels = in_chans
        for widths, rates in zip(blocks, conv_dropout or [()] * len(blocks), strict=True):
            for width, rate in zip(widths, rates or [0.0] * len(widths), strict=True):
                layers += [nn.Conv2d(channels, width, 3, padding=1), activation(act_layer)]
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers += [Dropout(rate)] if rate else []
                channels = width
            layers.append(nn.MaxPool2d(2))
        features = nn.Sequential(*layers)
        units = flat_units(features, in_chans, edge(img_size))
        dense: list[nn.Module] = [nn.Flatten()]
        for width, rate in zip(hidden, dense_dropout or [0.0] * len(hidden), strict=True):
            dense += [nn.Linear(units, width), activation(act_layer)]
            dense += [nn.BatchNorm1d(width)] if batch_norm else []
            dense += [Dropout(rate)] if rate else []
            units = width
        super().__init__(features, nn.Sequential(*dense), units, num_classes, drop_rate)
        self.apply(as_keras)


_CONFIG = {
    "input_size": (1, 48, 48),
    "min_input_size": (1, 8, 8),
    "fixed_input_size": True,
    "num_classes": 7,
    "mean": (0.5,),
    "std": (0.25,),
    "first_conv": "features.0",
    "classifier": "classifier",
}
default_cfgs = generate_default_cfgs({"minivgg": _CONFIG, "minivgg_tuned": _CONFIG})


@register_model
def minivgg(pretrained: bool = False, **kwargs: Any) -> MiniVgg:
    """3 blocks 32-32, 64-64, 128-128-128, dense 512-512: 3,060,071 weights with 7 classes."""
    return build_model_with_cfg(MiniVgg, "minivgg", pretrained, **kwargs)


@register_model
def minivgg_tuned(pretrained: bool = False, **kwargs: Any) -> MiniVgg:
    """minivgg with BatchNorm and dropout: 3,063,271 weights and 3,200 statistics with 7 classes.

    Its L2 and max-norm are `model.l2` and `model.max_norm` in conf/model/minivgg_tuned.yaml.
    """
    tuned = {
        "batch_norm": True,
        "conv_dropout": ((0.4, 0), (0.5, 0), (0.6, 0.7, 0)),
        "dense_dropout": (0.8, 0),
    }
    return build_model_with_cfg(MiniVgg, "minivgg_tuned", pretrained, **{**tuned, **kwargs})
