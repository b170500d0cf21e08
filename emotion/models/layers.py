"""Layers by their names, what is done to chosen ones (penalties and constraints of their weights), and dropout."""

import difflib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from emotion.errors import ConfigError

_KERAS_EPSILON = 1e-7
_BITS = 16  # random bits an element of a mask


class Dropout(nn.Dropout):
    """torch's dropout with a mask that a CPU draws in a tenth of the time, for the maps of convolutions.

    torch draws one Bernoulli variable at a time; here each element takes 16 of the generator's bits. The rate is so a
    multiple of 2⁻¹⁶, and what is kept is scaled by just that rate. Elsewhere than on a CPU, and compiled, it is torch's
    own. Takes float of any shape; never in place.
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * 2**_BITS)
        theirs = not self.training or x.device.type != "cpu" or torch.compiler.is_compiling()
        if theirs or dropped in (0, 2**_BITS):
            return super().forward(x)
        words = torch.empty(-(-x.numel() * _BITS // 64), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()] >= dropped - 2 ** (_BITS - 1)
        mask = torch.empty_like(x)  # in the memory order of x, so that the product copies neither
        mask.as_strided((x.numel(),), (1,)).copy_(kept).mul_(2**_BITS / (2**_BITS - dropped))
        return x * mask


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
