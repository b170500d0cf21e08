"""What the studies' networks have in common: convolutions, dense layers, a linear classifier, and timm's interface."""

from collections.abc import Callable, Sequence

import torch
from timm.layers import create_act_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class ConvDense(nn.Module):
    """Convolutions, dense layers, dropout, a linear classifier, with the methods by which timm uses a network.

    Args:
        features: (N, C, H, W) float → a map of features.
        dense: that map → (N, F).
        num_features: F.
        num_classes: 0 leaves out the classifier.
        drop_rate: dropout before the classifier.
    """

    def __init__(
        self,
        features: nn.Module,
        dense: nn.Module,
        num_features: int,
        num_classes: int,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.features, self.dense = features, dense
        self.head_drop = nn.Dropout(drop_rate)
        self.num_features = self.head_hidden_size = num_features
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.classifier: nn.Module = (
            nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        )

    def forward_features(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) float → the last convolution's map."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(self.dense(x))
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """From a parameter's name to the place of its layer, counted from the input: for layer-wise learning rates."""
        layers = {name.rpartition(".")[0]: None for name, _ in self.named_parameters()}
        place = {layer: number for number, layer in enumerate(layers)}
        return lambda name: place[name.rpartition(".")[0]]


@torch.no_grad()
def flat_units(features: nn.Module, channels: int, size_px: int) -> int:
    """The values that `features` leaves of an image of `channels` × `size_px` × `size_px`."""
    training = features.training
    found = features.eval()(torch.zeros(1, channels, size_px, size_px))
    features.train(training)
    return found[0].numel()


def edge(img_size: int | Sequence[int]) -> int:
    """timm gives one number or two."""
    return img_size if isinstance(img_size, int) else img_size[0]


def activation(name: str) -> nn.Module:
    """An activation by timm's name for it: relu, leaky_relu, elu …"""
    made = create_act_layer(name, inplace=True)
    if made is None:
        raise ValueError(f"expected the name of an activation, found {name!r}")
    return made


@torch.no_grad()
def as_keras(module: nn.Module) -> None:
    """Keras' defaults, which the reports trained with: Glorot's uniform weights (2010, eq. 16), biases 0.

    Its BatchNormalization adds 1e-3 to the variance, and its moving averages keep 0.99 of themselves; torch's 1e-5 and
    0.9.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _BatchNorm):
        module.eps, module.momentum = 1e-3, 0.01
