"""Study D's network (Emotion recognition, intelligent systems course, Pisa 2022-23): five convolutions for 180×180."""

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from emotion.models.layers import Dropout
from emotion.models.networks.conv_dense import ConvDense, activation, as_keras, edge, flat_units


class PlainCnn(ConvDense):
    """Unpadded 3×3 convolutions with max-pooling between them, then dense layers where there are any.

    Args:
        img_size: edge of the input in pixels; the flattened features depend on it.
        widths: channels of each convolution; all but the last are followed by max-pooling by 2.
        conv_dropout: dropout after each convolution.
        dense_dropout: dropout of the flattened features.
        hidden: units of the dense layers before the output.
        act_layer: timm's name of the activation.
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 180,
        drop_rate: float = 0.0,
        widths: Sequence[int] = (32, 64, 128, 256, 256),
        conv_dropout: float = 0.0,
        dense_dropout: float = 0.0,
        hidden: Sequence[int] = (),
        act_layer: str = "relu",
    ) -> None:
        layers: list[nn.Module] = []
        channels = in_chans
        for place, width in enumerate(widths):
            layers += [nn.MaxPool2d(2)] if place else []
            layers += [nn.Conv2d(channels, width, 3), activation(act_layer)]
            layers += [Dropout(conv_dropout)] if conv_dropout else []
            channels = width
        features = nn.Sequential(*layers)
        units = flat_units(features, in_chans, edge(img_size))
        dense: list[nn.Module] = [nn.Flatten()]
        dense += [Dropout(dense_dropout)] if dense_dropout else []
        for width in hidden:
            dense += [nn.Linear(units, width), activation(act_layer)]
            units = width
        super().__init__(features, nn.Sequential(*dense), units, num_classes, drop_rate)
        self.apply(as_keras)


default_cfgs = generate_default_cfgs(
    {
        "plain_cnn": {
            "input_size": (3, 180, 180),
            "min_input_size": (3, 78, 78),
            "fixed_input_size": True,
            "num_classes": 7,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "first_conv": "features.0",
            "classifier": "classifier",
        },
    }
)


@register_model
def plain_cnn(pretrained: bool = False, **kwargs: Any) -> PlainCnn:
    """32, 64, 128, 256, 256 channels, 12,544 features at 180 px: 1,066,311 weights with 7 classes."""
    return build_model_with_cfg(PlainCnn, "plain_cnn", pretrained, **kwargs)
