"""Classification heads: from backbone features (N, F) to logits (N, K), unnormalised."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion.models.networks.conv_dense import as_keras
from emotion.schema.model import CosineHead, HeadConfig, LinearHead, MlpHead

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "none": nn.Identity,
}


def linear(config: LinearHead, features: int, classes: int) -> nn.Sequential:
    """Dropout and one linear layer."""
    return _head(config, [], features, classes)


def mlp(config: MlpHead, features: int, classes: int) -> nn.Sequential:
    """Hidden layers, each followed by its activation, BatchNorm if wanted, and dropout, then one linear layer."""
    between = config.dropout if config.hidden_dropout is None else config.hidden_dropout
    layers: list[nn.Module] = []
    for place, units in enumerate(config.hidden):
        layers += [nn.Dropout(between)] if place else []
        layers += [nn.Linear(features, units), _ACTIVATIONS[config.activation]()]
        layers += [nn.BatchNorm1d(units)] if config.batch_norm else []
        features = units
    return _head(config, layers, features, classes)


def cosine(config: CosineHead, features: int, classes: int) -> nn.Sequential:
    """Dropout and one layer of cosines, whose logits don't depend on the lengths of features and weights.

    What LDAM is published with (Cao et al. 2019): the classes' margins are compared on one scale.
    """
    return nn.Sequential(nn.Dropout(config.dropout), _Cosines(features, classes, config.scale))


class _Cosines(nn.Module):
    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, features)))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(x), F.normalize(self.weight))


def _head(config: HeadConfig, layers: list[nn.Module], features: int, classes: int) -> nn.Sequential:
    """`layers`, then dropout and the last layer, all of them begun as `head.init` says."""
    last = nn.Linear(features, classes)
    nn.init.zeros_(last.bias)
    head = nn.Sequential(*layers, nn.Dropout(config.dropout), last)
    if config.init == "zero":
        nn.init.zeros_(last.weight)
    elif config.init == "keras":
        head.apply(as_keras)
    return head
