"""Where in an image a network's answer comes from: LayerCAM, Grad-CAM, Grad-CAM++, occlusion; what its layers hold.

The maps are written here, and not taken from the package grad-cam (1.5.7), which a test compares them with: it reads a
layer's output after an in-place activation behind it has changed it, but the gradient from before, imports pyplot, and
has nothing that hides patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion.errors import ConfigError

Method = Literal["layer_cam", "grad_cam", "grad_cam_plus_plus", "occlusion"]
CamMethod = Literal["layer_cam", "grad_cam", "grad_cam_plus_plus"]
MIN_EDGE = 6  # a map of fewer cells a side can't tell a mouth from a nose
PATCH, STRIDE = 0.25, 0.125  # of the edge: a patch as large as a mouth, moved by half of itself


@dataclass(frozen=True)
class Layer:
    """A module with feature maps: its dotted name, its channels and the edge of its maps."""

    name: str
    channels: int
    edge: int


def layers(network: nn.Module, x: Tensor) -> list[Layer]:
    """The last whole stage at each resolution, from the image's to the coarsest that is more than a point.

    Modules inside a block don't count where a block of that resolution is over: part of the picture may have gone
    past them, as past `layer3.0.act1` of a ResNet, whose maps have the resolution of `layer2`.

    Args:
        x: (N, C, S, S) float, as the network takes it.
    """
    found: dict[int, Layer] = {}
    names = {module: name for name, module in network.named_modules() if name}

    def note(module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
            layer = Layer(names[module], output.shape[1], output.shape[3])
            before = found.get(layer.edge)
            if before is None or _depth(layer) <= _depth(before):
                found[layer.edge] = layer

    handles = [module.register_forward_hook(note) for module in names]
    try:
        with torch.no_grad():
            network(x[:1])
    finally:
        for handle in handles:
            handle.remove()
    return sorted(found.values(), key=lambda layer: -layer.edge)


def _depth(layer: Layer) -> int:
    """How deep a module is nested; its number in a sequence is no level."""
    return sum(not part.isdigit() for part in layer.name.split("."))


def default_layer(network: nn.Module, x: Tensor) -> Layer:
    """The deepest layer whose maps still have `MIN_EDGE` cells a side, else the one with the most.

    Raises:
        ConfigError: the network has no feature maps.
    """
    known = layers(network, x)
    if not known:
        raise ConfigError(
            "expected a network with feature maps, found none (a transformer?). The method "
            "occlusion works with every network."
        )
    fine = [layer for layer in known if layer.edge >= MIN_EDGE]
    return fine[-1] if fine else known[0]


@contextmanager
def recorded(network: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """The outputs of a layer, one a forward pass, while the block runs.

    Raises:
        ConfigError: the network has no such layer.
    """
    modules = dict(network.named_modules())
    if layer not in modules:
        raise ConfigError(f"expected a layer of the network, found {layer!r}.")
    outputs: list[Tensor] = []
    handle = modules[layer].register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def class_activation(
    network: nn.Module, x: Tensor, targets: Tensor, layer: str, method: CamMethod = "layer_cam"
) -> Tensor:
    """What a layer's maps do for the classes: the maps weighted by their gradients, summed over the channels.

    Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) and Grad-CAM++ (Chattopadhay et al. 2018, equation 19) have
    one weight a channel, which says little where a channel means another thing at each place: in earlier layers, and
    in networks that flatten their maps. LayerCAM (Jiang et al. 2021, equations 5 to 7) has one a channel and place.

    Args:
        x: (N, C, S, S) float. targets: (N,) int64, the class of each image whose logit is explained.
        layer: from `layers`.

    Returns:
        (N, h, w) float32 in [0, 1], each scaled to its maximum; all 0 where nothing speaks for the class.
    """
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)  # gradients of the maps alone are half the work
    try:
        with torch.enable_grad(), recorded(network, layer) as outputs:
            logits = network(x.detach().clone().requires_grad_())
            maps = outputs[0]
            (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), maps)
    finally:
        for parameter, before in zip(network.parameters(), wanted, strict=True):
            parameter.requires_grad_(before)
    maps = maps.detach()
    if method == "layer_cam":
        weights = gradient.relu()
    elif method == "grad_cam_plus_plus":
        square, cube = gradient**2, gradient**3
        below = 2 * square + maps.sum((2, 3), keepdim=True) * cube
        alpha = torch.where(below.abs() > 1e-12, square / below, torch.zeros_like(below))
        weights = (alpha * gradient.relu()).sum((2, 3), keepdim=True)
    else:
        weights = gradient.mean((2, 3), keepdim=True)
    return _scaled((weights * maps).sum(1).relu())


@torch.no_grad()
def occlusion(network: nn.Module, x: Tensor, targets: Tensor, batch: int = 64) -> Tensor:
    """How much of the class's probability is lost when a patch is hidden (Zeiler and Fergus 2014, section 4.2).

    Each cell is the mean loss over the patches that cover it; a hidden patch has the image's mean colour.

    Args, Returns: as `class_activation`; h = w = S.
    """
    edge = x.shape[-1]
    size, stride = max(1, round(PATCH * edge)), max(1, round(STRIDE * edge))
    starts = sorted({*range(0, edge - size, stride), edge - size})
    places = [(top, left) for top in starts for left in starts]
    loss = torch.zeros(len(x), edge, edge, device=x.device)
    cover = torch.zeros(edge, edge, device=x.device)
    for top, left in places:
        cover[top : top + size, left : left + size] += 1
    for row, (image, target) in enumerate(zip(x, targets, strict=True)):
        whole = network(image[None]).float().softmax(1)[0, target]
        grey = image.mean((1, 2))[:, None, None]
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            hidden = image.repeat(len(some), 1, 1, 1)
            for one, (top, left) in zip(hidden, some, strict=True):
                one[:, top : top + size, left : left + size] = grey
            lost = whole - network(hidden).float().softmax(1)[:, target]
            for (top, left), value in zip(some, lost, strict=True):
                loss[row, top : top + size, left : left + size] += value
    return _scaled((loss / cover).relu())


def saliency(
    network: nn.Module, x: Tensor, targets: Tensor, method: Method = "layer_cam", layer: str | None = None
) -> Tensor:
    """Maps of the size of the network's input: (N, S, S) float32 in [0, 1].

    Args:
        x: (N, C, S, S) float. targets: (N,) int64.
        layer: of all methods but occlusion; None: `default_layer`.

    Raises:
        ConfigError: the network has no such layer, or none with feature maps.
    """
    network.eval()
    if method == "occlusion":
        return occlusion(network, x, targets)
    found = class_activation(network, x, targets, layer or default_layer(network, x).name, method)
    return F.interpolate(found[:, None], x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _scaled(maps: Tensor) -> Tensor:
    largest = maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
    return (maps / largest).float()
