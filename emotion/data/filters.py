"""Filters of the preparation: from a grey uint8 image to another one, by scikit-image and OpenCV.

A filter computes values in a range that it declares, and the range is stretched over the bytes 0 to 255. Both
libraries are imported when the first image is filtered.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from emotion import registry
from emotion.schema.images import PreprocessConfig

# A bound below which a value is taken for 0: what is left of rounding when equal numbers cancel.
_NOISE = 1e-6


@dataclass(frozen=True)
class Values:
    """What a filter computes of an image, before it is brought to bytes.

    Attributes:
        function: from (H, W) uint8 to (H, W) of any type; must not give NaN, for constant images either.
        low: the value that byte 0 stands for.
        high: the value that byte 255 stands for; values outside of the range are clipped.
        sparse: most values are near `low`: round up, so that a weak response isn't lost.
    """

    function: Callable[[np.ndarray], np.ndarray]
    low: float = 0.0
    high: float = 1.0
    sparse: bool = False


@dataclass(frozen=True)
class Filter:
    """A filter by its registered name, as a checkpoint keeps it.

    Attributes:
        name: of the group `preprocess`.
        options: the arguments of its builder.
        as_published: cut the values to whole numbers, as study B's code did when it wrote them back into an array of
            integers. A byte then is the number itself, plus 128 where the filter has negative values.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    as_published: bool = False

    @classmethod
    def of(cls, section: PreprocessConfig) -> Self | None:
        """The filter of a configuration's section `preprocess`; None where it has none."""
        if registry.entries("preprocess")[section.name].builder is None:
            return None
        return cls.from_dict({"name": section.name, **section.filter_options()})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        options = dict(data)
        return cls(options.pop("name"), as_published=options.pop("as_published", False), options=options)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, **self.options, "as_published": self.as_published}

    @property
    def value_range(self) -> tuple[float, float]:
        """The filter's values that the bytes 0 and 255 stand for."""
        if not self.as_published:
            return self._values.low, self._values.high
        low = -128.0 if self._values.low < 0 else 0.0
        return low, low + 255

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W) uint8 to (H, W) uint8."""
        found = self._values.function(image).astype(np.float64)
        low, high = self.value_range
        if self.as_published:
            found = np.trunc(found)
        scaled = (found - low) * (255 / (high - low))
        scaled = np.ceil(scaled - _NOISE) if self._values.sparse else np.rint(scaled)
        return scaled.clip(0, 255).astype(np.uint8)

    @cached_property
    def _values(self) -> Values:
        values: Values = registry.builder("preprocess", self.name)(**self.options)
        return values


def clahe(*, clip_limit: float) -> Values:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994) in 8 × 8 tiles, as scikit-image's.

    A constant image becomes 0: scikit-image would stretch the differences that rounding left between its tiles.
    """

    def function(image: np.ndarray) -> np.ndarray:
        from skimage import exposure

        if image.min() == image.max():
            return np.zeros_like(image)
        found: np.ndarray = exposure.equalize_adapthist(image, clip_limit=clip_limit)
        return found

    return Values(function)


def equalize(*, radius_px: int | None) -> Values:
    """Histogram equalisation of the whole image, or of each pixel within a disk around it."""

    def function(image: np.ndarray) -> np.ndarray:
        if radius_px is None:
            import cv2

            return cv2.equalizeHist(image)
        from skimage import morphology
        from skimage.filters import rank

        # A copy, because it refuses images that are read-only.
        found: np.ndarray = rank.equalize(image.copy(), morphology.disk(radius_px))
        return found

    return Values(function, 0, 255)


def normalize() -> Values:
    """(x − min) / (max − min) of each image; a constant image becomes 0."""

    def function(image: np.ndarray) -> np.ndarray:
        import cv2

        found: np.ndarray = cv2.normalize(image.astype(np.float64), np.empty(0), 0, 1, cv2.NORM_MINMAX)
        return found

    return Values(function)


def edges(*, operator: Literal["prewitt", "scharr", "sobel", "roberts"]) -> Values:
    """The magnitude of the gradient, of pixel values in [0, 1]."""

    def function(image: np.ndarray) -> np.ndarray:
        from skimage import filters

        found: np.ndarray = getattr(filters, operator)(image)
        return found

    return Values(function, sparse=True)


def threshold(*, method: Literal["yen", "isodata", "mean"]) -> Values:
    """1 where a pixel is above the image's threshold, else 0."""

    def function(image: np.ndarray) -> np.ndarray:
        from skimage import filters

        found: np.ndarray = image > getattr(filters, f"threshold_{method}")(image)
        return found

    return Values(function)


def standardize() -> Values:
    """(x − mean) / deviation of each image; a constant image becomes 0.

    ±4 deviations are kept: the two ends lie at least 2 apart, on both sides of 0, so clipping never joins them.
    """

    def function(image: np.ndarray) -> np.ndarray:
        centred = image - image.mean()
        return centred / (image.std() or 1.0)

    return Values(function, -4, 4)
