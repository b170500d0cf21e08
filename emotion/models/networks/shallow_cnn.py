"""Study C's network (Rath: CNN model for emotion identification, 2021): one or two convolutions for small faces."""

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from emotion.models.layers import Dropout
from emotion.models.networks.conv_dense import ConvDense, activation, as_keras, edge, flat_units


class ShallowCnn(ConvDense):
    """Unpadded convolutions, each with max-pooling and dropout, then dense layers.

    The model that the report lists has the first convolution and the first dense layer of what its text describes.

    Args:
        img_size: edge of the input in pixels; the first dense layer depends on it.
        widths: channels of each convolution.
        kernels: edge of each convolution's kernel.
        hidden: units of the dense layers before the output.
        dropout: after each pooling, and after the first dense layer.
        act_layer: timm's name of the activation.
    """

    def __init__(
        self,
        num_classes: int = 8,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = 50,
        drop_rate: float = 0.0,
        widths: Sequence[int] = (32,),
        kernels: Sequence[int] = (5,),
        hidden: Sequence[int] = (128,),
        dropout: float = 0.25,
        act_layer: str = "relu",
    ) -> None:
        layers: list[nn.Module] = []
        channels = in_chans
        for width, kernel in zip(widths, kernels, strict=True):
            layers += [nn.Conv2d(channels, width, kernel), activation(act_layer)]
            layers += [nn.MaxPool2d(2), Dropout(dropout)]
            channels = width
        features = nn.Sequential(*layers)
        units = flat_units(features, in_chans, edge(img_size))
        dense: list[nn.Module] = [nn.Flatten()]
        for place, width in enumerate(hidden):
            dense += [nn.Linear(units, width), activation(act_layer)]
            dense += [Dropout(dropout)] if place == 0 else []
            units = width
        super().__init__(features, nn.Sequential(*dense), units, num_classes, drop_rate)
        self.apply(as_keras)


default_cfgs = generate_default_cfgs(
    {
        "shallow_cnn": {
            "input_size": (1, 50, 50),
            "min_input_size": (1, 12, 12),
            "fixed_input_size": True,
            "num_classes": 8,
            "mean": (0.5,),
            "std": (0.25,),
            "first_conv": "features.0",
            "classifier": "classifier",
        },
    }
)


@register_model
def shallow_cnn(pretrained: bool = False, **kwargs: Any) -> ShallowCnn:
    """One 5×5 convolution and a dense layer: 2,168,776 weights at 50 px with 8 classes, 21,829,576 at 150 px."""
    return build_model_with_cfg(ShallowCnn, "shallow_cnn", pretrained, **kwargs)
