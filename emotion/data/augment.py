"""Augmentation of training images, a whole batch at a time.

A policy is given one random stream an image, a 64-bit number that is a function of (seed, epoch, sample id, draw
number). What it does to an image depends on that number alone: not on the batch, the worker or what was drawn before.

The host does the arithmetic where the network runs on the CPU. Beside a GPU it only draws what is to be done, and the
GPU does it: `emotion.data.augment_device`.
"""

from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np

from emotion import counter
from emotion.registry import Named, builder, entries

if TYPE_CHECKING:
    from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, what OpenCV and Pillow use for grey."""

# Columns of `Basic.changes`: a matrix in rows of three, factors, a share of the circle, a rectangle and its grey
INVERSE, BRIGHTNESS, CONTRAST, SATURATION, HUE, ERASED = slice(0, 6), 6, 7, 8, 9, slice(10, 15)
COLUMNS = 15

Backend = Literal["host", "device"]


class Augmenter(Protocol):
    """What a policy's builder returns; it must survive pickling."""

    def __call__(self, images: np.ndarray, streams: np.ndarray) -> np.ndarray:
        """The changed images, same shape (N, H, W, C) and type uint8.

        Args:
            images: uint8 (N, H, W, C); not changed themselves.
            streams: (N,) uint64, for `emotion.counter.uniform` or to seed a generator with.
        """
        ...


class DeviceAugmenter(Augmenter, Protocol):
    """A policy that can leave the arithmetic to the run's device; its schema has the key `backend`."""

    def changes(self, streams: np.ndarray, height: int, width: int) -> np.ndarray:
        """What is to be done to each image, (N, P) float64 of the policy's own meaning.

        Args:
            streams: (N,) uint64.
        """
        ...

    def unchanged(self) -> np.ndarray:
        """The row of `changes` that leaves an image as it is, (P,) float64."""
        ...

    def on_device(self, images: "Tensor", changes: "Tensor") -> "Tensor":
        """The changed images, same shape (N, H, W, C), type uint8 and device, up to rounding those of the host.

        Args:
            images: uint8 (N, H, W, C); not changed themselves.
            changes: (N, P) float32, from `changes`.
        """
        ...


def build(section: Named) -> Augmenter | None:
    """The augmentation of a configuration's section `augment`; None for a policy that changes nothing.

    Raises:
        ConfigError: a library refuses an argument.
    """
    if entries("augment")[section.name].builder is None:
        return None
    ours = {"name", "backend"} if _can_leave_it_to_the_device(section) else {"name"}
    augmenter: Augmenter = builder("augment", section.name)(**section.model_dump(exclude=ours))
    return augmenter


def is_pure(augmenter: Augmenter | None) -> bool:
    """Whether it may run beside training in one process: it draws from its streams alone, as all that a device can do.

    Policies of libraries set generators that dropout draws from, too.
    """
    return hasattr(augmenter, "on_device")


def _can_leave_it_to_the_device(section: Named) -> bool:
    has_builder = entries("augment")[section.name].builder is not None
    return has_builder and hasattr(builder("augment", section.name), "on_device")


def resolve_backend(section: Named, device: str) -> Backend:
    """Where a policy's arithmetic is done: where its key `backend` says, auto: on a CUDA GPU; on the host for others.

    Args:
        device: the type of the run's device, as torch calls it.
    """
    wanted = getattr(section, "backend", "host") if _can_leave_it_to_the_device(section) else "host"
    if wanted == "auto":
        return "device" if device == "cuda" else "host"
    return cast(Backend, wanted)


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
            (Zhong et al. 2020, "Random Erasing Data Augmentation"; the ranges are those of torchvision's RandomErasing,
            theirs go to 40 %).
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
        self.lights = brightness > 0 or contrast > 0
        self.saturates = saturation > 0
        self.turns_hue = hue > 0
        self.erases = erase > 0

    def __call__(self, images: np.ndarray, streams: np.ndarray) -> np.ndarray:
        import cv2

        cv2.setNumThreads(0)  # processes are the parallelism; threads beside them only fight for the cores
        edges = images.shape[1:3]
        changes = self.changes(streams, *edges)
        mapping = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        changed = np.empty_like(images)
        for image, target, matrix in zip(images, changed, changes[:, INVERSE].reshape(-1, 2, 3), strict=True):
            cv2.warpAffine(image, matrix, edges[::-1], target, mapping, cv2.BORDER_REFLECT_101)
        if self.lights:
            self._light(changed, changes[:, BRIGHTNESS], changes[:, CONTRAST])
        if self.saturates and images.shape[3] == 3:
            self._saturate(changed, changes[:, SATURATION])
        if self.turns_hue and images.shape[3] == 3:
            self._turn_hue(changed, changes[:, HUE])
        if self.erases:
            rectangles = changes[:, ERASED].astype(int).tolist()
            for image, (top, left, tall, wide, grey) in zip(changed, rectangles, strict=True):
                image[top : top + tall, left : left + wide] = grey
        return changed

    def on_device(self, images: "Tensor", changes: "Tensor") -> "Tensor":
        from emotion.data.augment_device import apply

        return apply(self, images, changes)

    def unchanged(self) -> np.ndarray:
        row = np.zeros(COLUMNS)
        row[INVERSE] = np.eye(2, 3).ravel()
        row[[BRIGHTNESS, CONTRAST, SATURATION]] = 1
        return row

    def changes(self, streams: np.ndarray, height: int, width: int) -> np.ndarray:
        """What is to be done to each image, (N, `COLUMNS`) float64; the columns are named at the top of this file."""
        count = len(self.ranges)
        drawn = counter.uniform(streams, count + 6)
        within = (2 * drawn[:, :count] - 1) * self.ranges
        found = np.empty((len(streams), COLUMNS))
        mirror = np.where(drawn[:, count] < self.flip, -1.0, 1.0)
        found[:, INVERSE] = _inverse(within[:, :6], mirror, height, width).reshape(-1, 6)
        found[:, [BRIGHTNESS, CONTRAST, SATURATION]] = 1 + within[:, 6:9]
        found[:, HUE] = within[:, 9]
        found[:, ERASED] = _erased(drawn[:, count + 1 :], self.erase, height, width)
        return found

    @staticmethod
    def _light(images: np.ndarray, brightness: np.ndarray, contrast: np.ndarray) -> None:
        """In place: brightness · (mean + contrast · (value − mean)), with the image's mean grey."""
        import cv2

        means = np.array([cv2.mean(image)[: images.shape[3]] for image in images])  # ten times numpy's speed
        mean = means[:, 0] if images.shape[3] == 1 else means @ np.array(LUMA)
        levels = mean[:, None] + contrast[:, None] * (np.arange(256) - mean[:, None])
        tables = np.rint(np.clip(brightness[:, None] * levels, 0, 255)).astype(np.uint8)
        for image, table in zip(images, tables, strict=True):
            cv2.LUT(image, table, image)

    @staticmethod
    def _saturate(images: np.ndarray, saturation: np.ndarray) -> None:
        """In place: a blend with each pixel's grey."""
        import cv2

        for image, factor in zip(images, saturation, strict=True):
            cv2.transform(image, factor * np.eye(3) + (1 - factor) * np.array(LUMA), image)

    @staticmethod
    def _turn_hue(images: np.ndarray, hue: np.ndarray) -> None:
        """In place: the hue of HSV turned by a share of its circle, which is 256 in OpenCV's full range."""
        import cv2

        for image, turn in zip(images, hue, strict=True):
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
            hsv[..., 0] += np.uint8(round(256 * turn) % 256)
            cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, image)


def _inverse(drawn: np.ndarray, mirror: np.ndarray, height: int, width: int) -> np.ndarray:
    """For each image the matrix (2, 3) that maps a place in the result to one in the original, in pixels.

    Args:
        drawn: (N, 6): angle, shear across and down in radians, zoom, shift across and down as shares.
        mirror: (N,): −1 where left and right change places, else 1.
    """
    angle, across, down, zoom, right, below = drawn.T
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    one = np.ones_like(angle)
    shear = np.array([[one, np.tan(across)], [np.tan(down), one]])
    linear = np.einsum("ijn,jkn->nik", turn, shear) / (1 + zoom)[:, None, None]
    linear[:, 0] *= mirror[:, None]
    centre = np.array([width - 1, height - 1]) / 2
    moved = centre + np.stack([right * width, below * height], axis=1)
    return np.concatenate([linear, (centre - np.einsum("nij,nj->ni", linear, moved))[..., None]], axis=2)


def _erased(drawn: np.ndarray, probability: float, height: int, width: int) -> np.ndarray:
    """For each image the rectangle that is erased: top, left, height, width, grey; one without edges erases nothing.

    Args:
        drawn: (N, 5) in [0, 1): whether, area, aspect, place, grey.
    """
    whether, size, shape, place, grey = drawn.T
    area = (0.02 + 0.31 * size) * height * width
    aspect = np.exp(np.log(0.3) + shape * (np.log(3.3) - np.log(0.3)))
    tall = np.minimum(np.rint(np.sqrt(area * aspect)), height)
    wide = np.minimum(np.rint(np.sqrt(area / aspect)), width)
    across = width - wide + 1
    top, left = np.divmod(np.floor(place * (height - tall + 1) * across), across)
    found = np.stack([top, left, tall, wide, np.floor(256 * grey)], axis=1)
    return np.where((whether < probability)[:, None], found, 0.0)
