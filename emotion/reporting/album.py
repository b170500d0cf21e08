"""The faces of a report: small copies, each embedded once however often it is shown."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from emotion.runs import RunFolder

EDGE_PX = 112
QUALITY = 80


class ImageLookup(Protocol):
    """Where a report gets its pictures from: usually the prepared store of a run's data."""

    def __call__(self, run: RunFolder, ids: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Those of the samples that are at hand: uint8 (H, W), (H, W, 1) or (H, W, 3).

        Raises:
            EmotionError: none can be had; the report then says so and shows the ids.
        """
        ...


class Album:
    """Hands out one name a picture; equal pixels share it.

    Attributes:
        faces: name → data URI (WebP, at most `EDGE_PX` on its longer side).
    """

    def __init__(self) -> None:
        self.faces: dict[str, str] = {}
        self._names: dict[bytes, str] = {}

    def add(self, pixels: np.ndarray) -> str:
        digest = hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=16).digest()
        if digest not in self._names:
            name = f"face-{len(self._names)}"
            self._names[digest] = name
            self.faces[name] = picture_address(pixels)
        return self._names[digest]


def png_address(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def picture_address(pixels: np.ndarray, edge_px: int = EDGE_PX) -> str:
    """A data URI (WebP) of uint8 (H, W) or (H, W, C), at most `edge_px` on its longer side."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    image.thumbnail((edge_px, edge_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
