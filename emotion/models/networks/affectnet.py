"""Study E's networks (Ayerdi, Bucknell: Emotion recognition on AffectNet via CNNs, 2018): skips of several lengths.

All convolutions have a bias and keep the size; c is the base width. `B` is a convolution with BatchNorm.
"""

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from emotion.models.networks.conv_dense import ConvDense, activation, edge, flat_units


def conv(channels: int, width: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel, padding=kernel // 2)


def normed(channels: int, width: int, pool: int = 1) -> nn.Sequential:
    """3×3 convolution and BatchNorm, then max-pooling by `pool` where it is more than 1."""
    layers: list[nn.Module] = [conv(channels, width), nn.BatchNorm2d(width)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(pool)] if pool > 1 else []))


def block(channels: int, width: int, act: str) -> nn.Sequential:
    return nn.Sequential(normed(channels, width), nn.MaxPool2d(2), activation(act))


class Residual(nn.Module):
    """Blocks c, 3c, 6c; the first block's output is added before the third's pooling. (N, 6c, H/8, W/8)."""

    def __init__(self, channels: int, c: int, act: str) -> None:
        super().__init__()
        self.block1, self.block2 = block(channels, c, act), block(c, 3 * c, act)
        self.block3, self.skip13 = normed(3 * c, 6 * c), normed(c, 6 * c, pool=2)
        self.pool, self.act = nn.MaxPool2d(2), activation(act)

    def forward(self, x: Tensor) -> Tensor:
        one = self.block1(x)
        return self.act(self.pool(self.block3(self.block2(one)) + self.skip13(one)))


class Dense(nn.Module):
    """Blocks c, 3c, 6c, 9c, the first without pooling; skips 1→3, 2→4 and 1→4. (N, 9c, H/8, W/8)."""

    def __init__(self, channels: int, c: int, act: str) -> None:
        super().__init__()
        self.block1 = nn.Sequential(normed(channels, c), activation(act))
        self.block2 = block(c, 3 * c, act)
        self.block3, self.skip13 = normed(3 * c, 6 * c), normed(c, 6 * c, pool=2)
        self.block4, self.skip24 = normed(6 * c, 9 * c), normed(3 * c, 9 * c, pool=2)
        self.skip14 = normed(c, 9 * c, pool=4)
        self.pool, self.act = nn.MaxPool2d(2), activation(act)

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The outputs of the four blocks."""
        one = self.block1(x)
        two = self.block2(one)
        three = self.act(self.pool(self.block3(two) + self.skip13(one)))
        four = self.act(self.pool(self.block4(three) + self.skip24(two) + self.skip14(one)))
        return one, two, three, four

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)[-1]


class Hybrid(nn.Module):
    """`Dense`, a fifth sum of all its levels, then an inception part without BatchNorm. (N, 4c, H/8, W/8).

    The 5×5 and the 3×3 branch share one 1×1 convolution, as in the authors' code.

    Args:
        bottleneck: channels of a last 1×1 convolution, before the features are flattened; 0: none.
    """

    def __init__(self, channels: int, c: int, act: str, bottleneck: int = 0) -> None:
        super().__init__()
        self.dense = Dense(channels, c, act)
        self.merge4 = normed(9 * c, 6 * c)
        self.skip1, self.skip2 = normed(c, 6 * c, pool=4), normed(3 * c, 6 * c, pool=2)
        self.skip3 = normed(6 * c, 6 * c)
        self.pool, self.act = nn.MaxPool2d(2), activation(act)
        self.branch1, self.reduce = conv(6 * c, 2 * c, 1), conv(6 * c, c, 1)
        self.branch5, self.branch3 = conv(c, c, 5), conv(c, c, 3)
        self.branch_all = conv(6 * c, 6 * c, 1)
        self.join = conv(10 * c, 4 * c)
        self.bottleneck = conv(4 * c, bottleneck, 1) if bottleneck else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        one, two, three, four = self.dense.levels(x)
        x = self.merge4(four) + self.pool(self.skip1(one) + self.skip2(two) + self.skip3(three))
        x = self.act(x)
        reduced = self.reduce(x)
        branches = [self.branch1(x), self.branch5(reduced), self.branch3(reduced), self.branch_all(x)]
        return self.bottleneck(self.join(torch.cat(branches, 1)))


def base(channels: int, c: int, act: str) -> nn.Sequential:
    """Blocks c, 2c, 4c without skips. (N, 4c, H/8, W/8)."""
    return nn.Sequential(block(channels, c, act), block(c, 2 * c, act), block(2 * c, 4 * c, act))


_TRUNKS = {"base": (base, 4), "residual": (Residual, 6), "dense": (Dense, 9), "hybrid": (Hybrid, 6)}


class AffectNetwork(ConvDense):
    """One of the four trunks, then dense → BatchNorm → activation.

    Args:
        trunk: base, residual, dense or hybrid.
        img_size: edge of the input in pixels; the dense layer depends on it.
        width: c, channels of the first convolution.
        act_layer: timm's name of the activation.
        bottleneck: of the hybrid, see `Hybrid`.
    """

    def __init__(
        self,
        trunk: str,
        num_classes: int = 11,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 64,
        drop_rate: float = 0.0,
        width: int = 32,
        act_layer: str = "relu",
        **options: int,
    ) -> None:
        make, factor = _TRUNKS[trunk]
        features = make(in_chans, width, act_layer, **options)
        units = flat_units(features, in_chans, edge(img_size))
        wide = factor * width
        dense = nn.Sequential(
            nn.Flatten(), nn.Linear(units, wide), nn.BatchNorm1d(wide), activation(act_layer)
        )
        super().__init__(features, dense, wide, num_classes, drop_rate)


def _config(first_conv: str) -> dict[str, Any]:
    return {
        "input_size": (3, 64, 64),
        "min_input_size": (3, 8, 8),
        "fixed_input_size": True,
        "num_classes": 11,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "first_conv": first_conv,
        "classifier": "classifier",
    }


default_cfgs = generate_default_cfgs(
    {
        "affect_base": _config("features.0.0.0"),
        "affect_resnet": _config("features.block1.0.0"),
        "affect_densenet": _config("features.block1.0.0"),
        "affect_hybrid": _config("features.dense.block1.0.0"),
    }
)


@register_model
def affect_base(pretrained: bool = False, **kwargs: Any) -> AffectNetwork:
    """With 11 classes 1,144,075 weights at 64 px, 4,289,803 at 128 px."""
    return build_model_with_cfg(AffectNetwork, "affect_base", pretrained, trunk="base", **kwargs)


@register_model
def affect_resnet(pretrained: bool = False, **kwargs: Any) -> AffectNetwork:
    """With 11 classes 2,613,227 weights at 64 px, 9,691,115 at 128 px."""
    return build_model_with_cfg(AffectNetwork, "affect_resnet", pretrained, trunk="residual", **kwargs)


@register_model
def affect_densenet(pretrained: bool = False, **kwargs: Any) -> AffectNetwork:
    """With 11 classes 6,395,723 weights at 64 px, 22,320,971 at 128 px."""
    return build_model_with_cfg(AffectNetwork, "affect_densenet", pretrained, trunk="dense", **kwargs)


@register_model
def affect_hybrid(pretrained: bool = False, **kwargs: Any) -> AffectNetwork:
    """With 11 classes 4,170,987 weights at 64 px, 8,889,579 at 128 px."""
    return build_model_with_cfg(AffectNetwork, "affect_hybrid", pretrained, trunk="hybrid", **kwargs)
