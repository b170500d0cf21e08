"""`emotion model NAME [override…]`"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from emotion.commands.printing import print_table
from emotion.data.dataset import preparation_of
from emotion.launch import compose
from emotion.models import network as door
from emotion.models.network import Network


@dataclass(frozen=True)
class Layer:
    """A row of the table: `shape` without the batch, (C, H, W) or (F,); `stats` are BatchNorm's means and variances."""

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    stats: int
    trainable: int


def model(name: str, overrides: Sequence[str], classes: int) -> None:
    """Print the layers of a network with its head, as a run of the same overrides builds it.

    Where they say nothing of data or preprocessing, its images are as large as the network's authors took them.
    """
    config = compose([f"model={name}", *overrides])
    size_px = _published_size(config.model.name)
    if any(override.startswith(("data", "preprocess")) for override in overrides):
        size_px = preparation_of(config.data, config.preprocess).size_px
    size_px = door.input_size(config.model, size_px)
    with torch.device("meta"):  # shapes without arithmetic or memory
        network = door.build(config.model, config.head, classes, size_px, load_weights=False)
    channels = door.input_channels(config.model)
    rows = layers(network, channels, size_px)
    print_table(_table(f"{config.model.name}, input {channels}×{size_px}×{size_px}, {classes} classes", rows))
    weights, stats, trainable = (sum(getattr(r, n) for r in rows) for n in ("weights", "stats", "trainable"))
    print(f"weights {weights:,} · weights + stats {weights + stats:,} · trainable {trainable:,}")


def _published_size(name: str) -> int:
    size: int = door.published(name).get("input_size", (3, 224, 224))[-1]
    return size


@torch.no_grad()
def layers(network: Network, channels: int, size_px: int) -> list[Layer]:
    """The layers in the order in which an image passes them, those that it passes twice once.

    A layer is a module without modules in it, or one with parameters of its own. Identities and dropouts of rate 0 are
    left out. Parameters that no output shape belongs to, because their module isn't called by itself, come last.
    """
    passed: dict[str, tuple[int, ...]] = {}
    hooks = []
    for name, module in network.named_modules():
        own = any(True for _ in module.parameters(recurse=False))
        if own or not any(True for _ in module.children()):
            hooks.append(module.register_forward_hook(_keeper(passed, name)))
    training = network.training
    device = next(network.parameters()).device
    network.eval()(torch.zeros(2, channels, size_px, size_px, device=device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    modules = dict(network.named_modules())
    silent = [name for name, module in modules.items() if name not in passed and _weights(module)]
    rows = [_layer(name, modules[name], shape) for name, shape in passed.items()]
    rows += [_layer(name, modules[name], ()) for name in silent]
    return [row for row in rows if row.weights or not _idle(modules[row.name])]


def _keeper(passed: dict[str, tuple[int, ...]], name: str) -> Callable[[nn.Module, object, object], None]:
    def keep(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            passed.setdefault(name, tuple(output.shape[1:]))

    return keep


def _weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters(recurse=False))


def _idle(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity) or (isinstance(module, nn.Dropout) and module.p == 0)


def _layer(name: str, module: nn.Module, shape: tuple[int, ...]) -> Layer:
    stats = 0
    if isinstance(module, _BatchNorm) and module.track_running_stats:
        stats = 2 * module.num_features
    trainable = sum(p.numel() for p in module.parameters(recurse=False) if p.requires_grad)
    return Layer(name, type(module).__name__, shape, _weights(module), stats, trainable)


def _table(title: str, rows: Sequence[Layer]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for name in ("output shape", "weights", "trainable"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        shape = "×".join(map(str, row.shape))
        counted = [f"{n:,}" if row.weights else "" for n in (row.weights, row.trainable)]
        table.add_row(row.name, row.kind, shape, *counted)
    return table
