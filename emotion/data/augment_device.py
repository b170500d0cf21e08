"""The policy `basic` in torch, for the run's device: what `emotion.data.augment.Basic` does with OpenCV on the host."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from emotion.data.augment import BRIGHTNESS, CONTRAST, ERASED, HUE, INVERSE, LUMA, SATURATION

if TYPE_CHECKING:
    from emotion.data.augment import Basic


def apply(policy: "Basic", images: Tensor, changes: Tensor) -> Tensor:
    """The changed images, uint8 (N, H, W, C) on the device of `images`.

    Computed in 32-bit floats and rounded once, at the end; the host rounds after each step, and places to 1/32 pixel.
    To be called outside of autocast, as Lightning calls what comes before a step.

    Args:
        policy: says which steps there are.
        images: uint8 (N, H, W, C), C 1 or 3.
        changes: (N, COLUMNS) float32, from `Basic.changes`.
    """
    x = _warped(images.permute(0, 3, 1, 2).float(), changes[:, INVERSE])
    if policy.lights:
        mean = _grey(x).mean((1, 2, 3), keepdim=True)
        x = (_each(changes, BRIGHTNESS) * (mean + _each(changes, CONTRAST) * (x - mean))).clamp(0, 255)
    if policy.saturates and x.shape[1] == 3:
        x = torch.lerp(_grey(x).expand_as(x), x, _each(changes, SATURATION)).clamp(0, 255)
    if policy.turns_hue and x.shape[1] == 3:
        x = _hue_turned(x, _each(changes, HUE))
    if policy.erases:
        x = _without_rectangle(x, changes[:, ERASED])
    return x.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _each(changes: Tensor, column: int) -> Tensor:
    return changes[:, column].view(-1, 1, 1, 1)


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    red, green, blue = LUMA
    return red * x[:, :1] + green * x[:, 1:2] + blue * x[:, 2:]


def _warped(x: Tensor, inverse: Tensor) -> Tensor:
    """Bilinear, the border filled by reflection about the outermost pixels' centres."""
    height, width = x.shape[2:]
    across = torch.arange(width, device=x.device).view(1, 1, -1)
    down = torch.arange(height, device=x.device).view(1, -1, 1)
    a, b, c, d, e, f = inverse.T[:, :, None, None]
    # not as a product of matrices, which a GPU may round to 10 bits (TF32); −1 and 1 are the outermost centres
    right = (a * across + b * down + c) * (2 / max(width - 1, 1)) - 1
    below = (d * across + e * down + f) * (2 / max(height - 1, 1)) - 1
    return F.grid_sample(x, torch.stack([right, below], dim=3), "bilinear", "reflection", align_corners=True)


def _hue_turned(x: Tensor, turn: Tensor) -> Tensor:
    """The hue of HSV (Smith 1978) turned by a share of its circle; value and chroma stay.

    Each channel of the result is value − chroma · clamp(min(k, 4 − k), 0, 1), k = (n + 6 · hue) mod 6, with n 5, 3 and
    1 for red, green and blue.
    """
    value, largest = x.max(1, keepdim=True)
    chroma = value - x.amin(1, keepdim=True)
    red, green, blue = x.split(1, dim=1)
    ahead = torch.where(largest == 0, green - blue, torch.where(largest == 1, blue - red, red - green))
    sixths = ahead / chroma.clamp(min=1e-6) + 2 * largest + 6 * turn
    k = torch.cat([(n + sixths) % 6 for n in (5, 3, 1)], dim=1)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def _without_rectangle(x: Tensor, erased: Tensor) -> Tensor:
    top, left, tall, wide, grey = erased.T[:, :, None, None, None]
    down = torch.arange(x.shape[2], device=x.device).view(1, 1, -1, 1)
    across = torch.arange(x.shape[3], device=x.device).view(1, 1, 1, -1)
    inside = (down >= top) & (down < top + tall) & (across >= left) & (across < left + wide)
    return torch.where(inside, grey, x)
