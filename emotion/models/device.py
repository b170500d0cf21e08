"""The second part of preprocessing: what the device does to the uint8 pixels of the store. Saved in the checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion.errors import RunError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what OpenCV and Pillow use for grey

FORMAT = 1


class DevicePreprocess(nn.Module):
    """uint8 (N, H, W, C) → float (N, C', S, S), channels_last, (x / 255 − mean) / std.

    Args:
        channels: C' of the network, 1 or 3; grey is repeated, colour is reduced to its luma.
        size_px: S; images of another size are resized bilinearly (with antialiasing when they shrink).
        mean, std: for each of the C' channels, of values in [0, 1].
    """

    scale: Tensor
    shift: Tensor
    luma: Tensor

    def __init__(self, channels: int, size_px: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not (len(mean) == len(std) == channels):
            raise ValueError(f"expected {channels} means and deviations, found {len(mean)} and {len(std)}")
        self.channels, self.size_px, self.mean, self.std = channels, size_px, tuple(mean), tuple(std)
        scale = 1 / (255 * torch.tensor(self.std, dtype=torch.float64))
        shift = -torch.tensor(self.mean, dtype=torch.float64) / torch.tensor(self.std, dtype=torch.float64)
        self.register_buffer("scale", scale.float().view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(1, -1, 1, 1), persistent=False)
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1), persistent=False)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "channels": self.channels,
            "size_px": self.size_px,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "DevicePreprocess":
        """
        Raises:
            RunError: of a format that this version doesn't know.
        """
        if saved.get("format") != FORMAT:
            raise RunError(
                f"expected device preprocessing of format {FORMAT}, found {saved.get('format')!r}. A newer version of "
                "emotion reads newer formats."
            )
        return cls(saved["channels"], saved["size_px"], saved["mean"], saved["std"])

    def forward(self, image: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2).float()
        if x.shape[1] == 3 and self.channels == 1:
            x = (x * self.luma).sum(1, keepdim=True)
        if x.shape[-2:] != (self.size_px, self.size_px):
            smaller = self.size_px < max(x.shape[-2:])
            x = F.interpolate(x, (self.size_px, self.size_px), mode="bilinear", antialias=smaller)
        x = x * self.scale + self.shift  # a grey image becomes three channels here, by broadcasting
        return x.contiguous(memory_format=torch.channels_last)


def class_probabilities(logits: Callable[[Tensor], Tensor], image: Tensor, tta: str) -> Tensor:
    """image (N, H, W, C) uint8 → class probabilities (N, K) float32, averaged over what `tta` names.

    In 32-bit floats whatever the training's precision: an epoch's scores are those of its prediction table.

    Args:
        logits: what a network answers to images.
        tta: as `evaluation.tta`.
    """
    with torch.autocast(image.device.type, enabled=False), whole_floats():
        p = logits(image).float().softmax(1)
        return (p + logits(image.flip(2)).float().softmax(1)) / 2 if tta == "flip" else p


@contextmanager
def whole_floats() -> Iterator[None]:
    """Convolutions on NVIDIA GPUs without TF32, whose mantissa has 10 bits and which torch allows by itself."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
