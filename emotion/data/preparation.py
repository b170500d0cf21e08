"""The preparation: from a decoded image to the square uint8 image that networks are fed from."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image

from emotion.data.filters import Filter
from emotion.errors import ConfigError, DataError

# 2 has a filter or a crop, which an older version must not overlook.
FORMAT, FILTERED = 1, 2

Box = tuple[float, float, float, float]

# Luma of ITU-R BT.601 as Pillow and the JPEG decoders use it, in 1/65536 so that it rounds the same
# everywhere.
_LUMA = np.array([19595, 38470, 7471], np.uint32)


@dataclass(frozen=True)
class Preparation:
    """Crop to the face box and to the centre, bring to a number of channels, resize to a square, filter.

    The store is filled and the predictor fed by this one function, so inference can't differ from training.

    Attributes:
        size_px: edge of the prepared image.
        channels: 1 (grey) or 3 (RGB).
        margin: the face box is widened by this share of its width and height on each side, within the image.
        crop_px: cut the centre of a larger image, and pad a smaller one with black, to this edge before resizing;
            None: the whole image.
        filter: applied last. A colour image is filtered by its luma, and is grey afterwards.
    """

    size_px: int
    channels: int
    margin: float = 0.0
    crop_px: int | None = None
    filter: Filter | None = None

    def __post_init__(self) -> None:
        sizes = self.size_px, 1 if self.crop_px is None else self.crop_px
        if min(sizes) < 1 or self.channels not in (1, 3) or self.margin < 0:
            raise ConfigError(
                f"expected size_px and crop_px ≥ 1, channels 1 or 3 and margin ≥ 0, found {self}."
            )

    @property
    def value_range(self) -> tuple[float, float]:
        """What the bytes 0 and 255 stand for: themselves, or values of the filter."""
        return (0.0, 255.0) if self.filter is None else self.filter.value_range

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
        if self.crop_px is not None:
            image = _crop_or_pad(image, self.crop_px)
        if image.ndim == 3 and (self.channels == 1 or self.filter is not None):
            image = ((image @ _LUMA + 32768) >> 16).astype(np.uint8)
        if image.shape[:2] != (self.size_px, self.size_px):
            image = _resize(image, self.size_px)
        if self.filter is not None:
            image = self.filter(image)
        if image.ndim == 2:
            image = image[:, :, None]
        if image.shape[2] != self.channels:
            image = np.repeat(image, self.channels, axis=2)
        return np.ascontiguousarray(image)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` makes the same preparation of; part of a checkpoint."""
        plain: dict[str, Any] = {
            "format": FORMAT,
            "size_px": self.size_px,
            "channels": self.channels,
            "margin": self.margin,
        }
        if self.crop_px is not None:
            plain |= {"format": FILTERED, "crop_px": self.crop_px}
        if self.filter is not None:
            plain |= {"format": FILTERED, "filter": self.filter.to_dict()}
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Raises DataError where the dict is of a format that this version doesn't know."""
        if data.get("format") not in (FORMAT, FILTERED):
            raise DataError(
                f"expected a preparation of format {FORMAT} or {FILTERED}, found format {data.get('format')}. "
                "It was written by another version of emotion: use that version, or train again with this "
                "one."
            )
        return cls(
            size_px=int(data["size_px"]),
            channels=int(data["channels"]),
            margin=float(data["margin"]),
            crop_px=data.get("crop_px"),
            filter=Filter.from_dict(data["filter"]) if "filter" in data else None,
        )

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


def _crop_or_pad(image: np.ndarray, edge: int) -> np.ndarray:
    """The centre of (H, W[, 3]) as (edge, edge[, 3]), black where the image doesn't reach."""
    for axis, length in enumerate(image.shape[:2]):
        start = max((length - edge) // 2, 0)
        image = image[start : start + edge] if axis == 0 else image[:, start : start + edge]
    padding = [((gap := edge - length) // 2, gap - gap // 2) for length in image.shape[:2]]
    return np.pad(image, [*padding, *[(0, 0)] * (image.ndim - 2)])


def _resize(image: np.ndarray, size_px: int) -> np.ndarray:
    """Bilinear with anti-aliasing to a square, whatever the aspect was: (H, W[, 3]) to (S, S[, 3]) uint8."""
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(
        (size_px, size_px), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)
