"""The preparation: from a decoded image to the square uint8 image that networks are fed from."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image

from emotion.errors import ConfigError, DataError

FORMAT = 1

Box = tuple[float, float, float, float]

# Luma of ITU-R BT.601 as Pillow and the JPEG decoders use it, in 1/65536 so that it rounds the same
# everywhere.
_LUMA = np.array([19595, 38470, 7471], np.uint32)


@dataclass(frozen=True)
class Preparation:
    """Crop to the face box, bring to a number of channels, resize to a square.

    The store is filled and the predictor fed by this one function, so inference can't differ from training.

    Attributes:
        size_px: edge of the prepared image.
        channels: 1 (grey) or 3 (RGB).
        margin: the face box is widened by this share of its width and height on each side, within the image.
    """

    size_px: int
    channels: int
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.size_px < 1 or self.channels not in (1, 3) or self.margin < 0:
            raise ConfigError(f"expected size_px ≥ 1, channels 1 or 3 and margin ≥ 0, found {self}.")

    def __call__(self, image: np.ndarray, box: Box | None = None) -> np.ndarray:
        """The prepared image (S, S, C) uint8, C-contiguous.

        Args:
            image: uint8, (H, W) or (H, W, 1) grey, or (H, W, 3) RGB.
            box: x, y, width, height of the face in pixels of `image`; None means the whole image.

        Raises:
            DataError: another type or shape, or a box that is empty or outside of the image.
        """
        image = np.asarray(image)
        if image.ndim == 3 and image.shape[2] == 1:
            image = image[:, :, 0]
        if (
            image.dtype != np.uint8
            or image.ndim not in (2, 3)
            or image.shape[2:] not in ((), (3,))
            or not image.size
        ):
            raise DataError(
                f"expected an image (H, W) or (H, W, 3) of uint8, found {image.shape} of {image.dtype}."
            )
        if box is not None:
            image = self._crop(image, box)
        if self.channels == 1 and image.ndim == 3:
            image = ((image @ _LUMA + 32768) >> 16).astype(np.uint8)
        if image.shape[:2] != (self.size_px, self.size_px):
            image = _resize(image, self.size_px)
        if image.ndim == 2:
            image = image[:, :, None]
        if image.shape[2] != self.channels:
            image = np.repeat(image, self.channels, axis=2)
        return np.ascontiguousarray(image)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` makes the same preparation of; part of a checkpoint."""
        return {"format": FORMAT, "size_px": self.size_px, "channels": self.channels, "margin": self.margin}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Raises DataError where the dict is of a format that this version doesn't know."""
        if data.get("format") != FORMAT:
            raise DataError(
                f"expected a preparation of format {FORMAT}, found format {data.get('format')}. "
                "It was written by another version of emotion: use that version, or train again with this "
                "one."
            )
        return cls(size_px=int(data["size_px"]), channels=int(data["channels"]), margin=float(data["margin"]))

    def _crop(self, image: np.ndarray, box: Box) -> np.ndarray:
        x, y, width, height = box
        left = max(round(x - self.margin * width), 0)
        top = max(round(y - self.margin * height), 0)
        right = min(round(x + width + self.margin * width), image.shape[1])
        bottom = min(round(y + height + self.margin * height), image.shape[0])
        if width <= 0 or height <= 0 or right <= left or bottom <= top:
            raise DataError(
                f"the face box x {x}, y {y}, {width} × {height} is empty or outside of the image of "
                f"{image.shape[1]} × {image.shape[0]} pixels."
            )
        return image[top:bottom, left:right]


def _resize(image: np.ndarray, size_px: int) -> np.ndarray:
    """Bilinear with anti-aliasing to a square, whatever the aspect was: (H, W[, 3]) to (S, S[, 3]) uint8."""
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(
        (size_px, size_px), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)
