"""Augmentation of training images, a whole batch at a time.

A policy is given one random stream an image, a 64-bit number that is a function of (seed, epoch, sample id, draw
number). What it does to an image depends on that number alone: not on the batch, the worker or what was drawn before.
"""

from typing import Protocol

import numpy as np

from emotion import counter
from emotion.registry import Named, builder, entries

# ITU-R BT.601, what OpenCV and Pillow use for grey
_LUMA = np.array([0.299, 0.587, 0.114])


class Augmenter(Protocol):
    """What a policy's builder returns; it must survive pickling."""

    def __call__(self, images: np.ndarray, streams: np.ndarray) -> np.ndarray:
        """The changed images, same shape (N, H, W, C) and type uint8.

        Args:
            images: uint8 (N, H, W, C); not changed themselves.
            streams: (N,) uint64, for `emotion.counter.uniform` or to seed a generator with.
        """
        ...


def build(section: Named) -> Augmenter | None:
    """The augmentation of a configuration's section `augment`; None for a policy that changes nothing.

    Raises:
        ConfigError: a library refuses an argument.
    """
    if entries("augment")[section.name].builder is None:
        return None
    augmenter: Augmenter = builder("augment", section.name)(**section.model_dump(exclude={"name"}))
    return augmenter


class Basic:
    """Rotation, shift, shear, zoom and flip in one interpolation, then light and colour, then erasing.

    The border is filled by reflection. Light and colour follow torchvision's ColorJitter in this order: a factor of
    brightness, contrast about the image's mean grey, saturation about each pixel's grey, hue. Strength 0 changes
    nothing, bit for bit.

    Args:
        rotate_deg: within ± degrees.
        shift: within ± this share of the edge, each way.
        shear_deg: within ± degrees, each way.
        zoom: by a factor within 1 ± this.
        flip: probability of a left-right flip.
        brightness, contrast, saturation: by a factor within 1 ± this.
        hue: turned within ± this share of the colour circle.
        erase: probability of erasing a rectangle of 2 to 33 % of the image with a random grey, aspect 0.3 to 3.3
            (Zhong et al. 2020, "Random Erasing Data Augmentation", their settings).
    """

    def __init__(
        self,
        *,
        rotate_deg: float,
        shift: float,
        shear_deg: float,
        zoom: float,
        flip: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        erase: float,
    ) -> None:
        # ranges of: angle, shear across and down (radians), zoom, shift across and down, then light and colour
        angles = np.radians([rotate_deg, shear_deg, shear_deg])
        self.ranges = np.array([*angles, zoom, shift, shift, brightness, contrast, saturation, hue])
        self.flip = flip
        self.erase = erase

    def __call__(self, images: np.ndarray, streams: np.ndarray) -> np.ndarray:
        import cv2

        cv2.setNumThreads(0)  # processes are the parallelism; threads beside them only fight for the cores
        count = len(self.ranges)
        drawn = counter.uniform(streams, count + 6)
        drawn[:, :count] = (2 * drawn[:, :count] - 1) * self.ranges
        edges = images.shape[1:3]
        mapping = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        changed = np.empty_like(images)
        for image, target, matrix in zip(images, changed, self._inverse(drawn, *edges), strict=True):
            cv2.warpAffine(image, matrix, edges[::-1], target, mapping, cv2.BORDER_REFLECT_101)
        if self.ranges[6:8].any():
            self._light(changed, 1 + drawn[:, 6], 1 + drawn[:, 7])
        if self.ranges[8] and images.shape[3] == 3:
            self._saturate(changed, 1 + drawn[:, 8])
        if self.ranges[9] and images.shape[3] == 3:
            self._turn_hue(changed, drawn[:, 9])
        if self.erase:
            self._erase(changed, drawn[:, count + 1 :])
        return changed

    def _inverse(self, drawn: np.ndarray, height: int, width: int) -> np.ndarray:
        """For each image the matrix (2, 3) that maps a place in the result to one in the original, in pixels."""
        angle, across, down, zoom, right, below = drawn[:, :6].T
        mirror = np.where(drawn[:, len(self.ranges)] < self.flip, -1.0, 1.0)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        one = np.ones_like(angle)
        shear = np.array([[one, np.tan(across)], [np.tan(down), one]])
        linear = np.einsum("ijn,jkn->nik", turn, shear) / (1 + zoom)[:, None, None]
        linear[:, 0] *= mirror[:, None]
        centre = np.array([width - 1, height - 1]) / 2
        moved = centre + np.stack([right * width, below * height], axis=1)
        return np.concatenate([linear, (centre - np.einsum("nij,nj->ni", linear, moved))[..., None]], axis=2)

    @staticmethod
    def _light(images: np.ndarray, brightness: np.ndarray, contrast: np.ndarray) -> None:
        """In place: brightness · (mean + contrast · (value − mean)), with the image's mean grey."""
        import cv2

        means = np.array([cv2.mean(image)[: images.shape[3]] for image in images])  # ten times numpy's speed
        mean = means[:, 0] if images.shape[3] == 1 else means @ _LUMA
        levels = mean[:, None] + contrast[:, None] * (np.arange(256) - mean[:, None])
        tables = np.rint(np.clip(brightness[:, None] * levels, 0, 255)).astype(np.uint8)
        for image, table in zip(images, tables, strict=True):
            cv2.LUT(image, table, image)

    @staticmethod
    def _saturate(images: np.ndarray, saturation: np.ndarray) -> None:
        """In place: a blend with each pixel's grey."""
        import cv2

        for image, factor in zip(images, saturation, strict=True):
            cv2.transform(image, factor * np.eye(3) + (1 - factor) * _LUMA, image)

    @staticmethod
    def _turn_hue(images: np.ndarray, hue: np.ndarray) -> None:
        """In place: the hue of HSV turned by a share of its circle, which is 256 in OpenCV's full range."""
        import cv2

        for image, turn in zip(images, hue, strict=True):
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
            hsv[..., 0] += np.uint8(round(256 * turn) % 256)
            cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, image)

    def _erase(self, images: np.ndarray, drawn: np.ndarray) -> None:
        """In place: a rectangle of one grey. `drawn` is (N, 5) in [0, 1): whether, area, aspect, place, grey."""
        height, width = images.shape[1:3]
        for image, (whether, size, shape, place, grey) in zip(images, drawn, strict=True):
            if whether >= self.erase:
                continue
            area = (0.02 + 0.31 * size) * height * width
            aspect = np.exp(np.log(0.3) + shape * (np.log(3.3) - np.log(0.3)))
            tall = min(round(np.sqrt(area * aspect)), height)
            wide = min(round(np.sqrt(area / aspect)), width)
            top, left = divmod(int(place * (height - tall + 1) * (width - wide + 1)), width - wide + 1)
            image[top : top + tall, left : left + wide] = int(256 * grey)
