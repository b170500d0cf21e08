"""Classification heads: from backbone features (N, F) to logits (N, K), unnormalised."""

from torch import nn

from emotion.schema import HeadConfig, LinearHead, MlpHead

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
}


def linear(config: LinearHead, features: int, classes: int) -> nn.Sequential:
    """Dropout and one linear layer."""
    return nn.Sequential(*_last(config, features, classes))


def mlp(config: MlpHead, features: int, classes: int) -> nn.Sequential:
    """Hidden layers, each followed by its activation and dropout, then one linear layer."""
    layers: list[nn.Module] = []
    for units in config.hidden[:-1]:
        layers += [nn.Linear(features, units), _ACTIVATIONS[config.activation](), nn.Dropout(config.dropout)]
        features = units
    layers += [nn.Linear(features, config.hidden[-1]), _ACTIVATIONS[config.activation]()]
    return nn.Sequential(*layers, *_last(config, config.hidden[-1], classes))


def _last(config: HeadConfig, features: int, classes: int) -> list[nn.Module]:
    layer = nn.Linear(features, classes)
    nn.init.zeros_(layer.bias)
    if config.init == "zero":
        nn.init.zeros_(layer.weight)
    return [nn.Dropout(config.dropout), layer]
