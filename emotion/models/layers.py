"""Layers by their names, and what is done to chosen ones: penalties and constraints of their weights."""

import difflib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from emotion.errors import ConfigError

_KERAS_EPSILON = 1e-7


def below(name: str, starts: Sequence[str]) -> bool:
    """Whether `name` is one of `starts` or lies within it.

    >>> below("backbone.layer1.0.conv1", ["backbone.layer1"]), below("backbone.layer10", ["backbone.layer1"])
    (True, False)
    """
    return any(name == start or name.startswith(f"{start}.") for start in starts)


def parameters_below(network: nn.Module, starts: Sequence[str], key: str) -> dict[str, nn.Parameter]:
    """The parameters of the layers whose names begin with one of `starts`.

    Args:
        key: the configuration's key that names them, for the message.

    Raises:
        ConfigError: a name that no layer with parameters has; the text names those that there are.
    """
    parameters = dict(network.named_parameters())
    for start in starts:
        if not any(below(name, [start]) for name in parameters):
            raise ConfigError(
                f"{key}: expected the start of a layer's name, found {start!r}. {_known(parameters, start)}"
            )
    return {name: parameter for name, parameter in parameters.items() if below(name, starts)}


def _known(parameters: Iterable[str], wrong: str) -> str:
    """The names next to the wrong one."""
    starts = {name.rsplit(".", n)[0] for name in parameters for n in range(1, name.count(".") + 1)}
    parent = wrong
    while parent and parent not in starts:
        parent = parent.rpartition(".")[0]
    beside = sorted(
        (s for s in starts if s.rpartition(".")[0] == parent),
        key=lambda s: [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in s.split(".")],
    )
    near = [s for s in sorted(starts, key=len) if s.endswith(f".{wrong}")][:1]
    near = near or difflib.get_close_matches(wrong, starts, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    within = f"{parent} has" if parent else "There are"
    return f"{hint}{within} {', '.join(beside) or 'no layers of its own'}; `emotion model` prints all names."


def kernels(network: nn.Module, starts: Sequence[str], key: str) -> list[nn.Parameter]:
    """The weights of the linear and convolutional layers below `starts`, without biases and normalisation.

    Raises:
        ConfigError: a name that no layer has.
    """
    chosen = parameters_below(network, starts, key)
    return [p for name, p in chosen.items() if name.endswith("weight") and p.ndim > 1]


def l2_penalty(weights: Iterable[Tensor], strength: float) -> Tensor:
    """strength · Σw², which Keras' `regularizers.l2(strength)` adds to the loss: no half, and not decoupled."""
    return strength * torch.stack([weight.float().square().sum() for weight in weights]).sum()


@torch.no_grad()
def clip_norms(weights: Iterable[Tensor], limit: float) -> None:
    """Shorten weight vectors to `limit` as Keras' `constraints.max_norm(limit)` does with its axis 0.

    Of a dense layer that bounds each unit's incoming weights. Of a convolution, whose kernel Keras stores as
    (row, column, in, out), it bounds each triple over the rows alone, not a filter (Srivastava et al. 2014, section 5.1
    bound the filter).

    Args:
        weights: (out, in) or (out, in, row, column, …) float, changed in place.
    """
    for weight in weights:
        norm = weight.norm(dim=1 if weight.ndim == 2 else 2, keepdim=True)
        weight.mul_((limit / (norm + _KERAS_EPSILON)).clamp(max=1))
