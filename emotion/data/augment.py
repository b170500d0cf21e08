"""Augmentation of training images: the one place that knows albumentations."""

import os
import random
import warnings
from typing import Any

import numpy as np

from emotion.errors import ConfigError
from emotion.registry import Named, builder, entries


class Augmenter:
    """A random change of an image that is a function of (seed, epoch, key, draw) and of nothing else.

    albumentations gives all worker processes one random stream and goes on in it from call to call; here it
    starts anew for every draw.

    Args:
        transforms: albumentations' transforms, in order.
    """

    def __init__(self, transforms: list[Any]) -> None:
        _quiet()
        import albumentations
        import cv2

        # Workers are the parallelism; threads of OpenCV beside them only fight for the cores.
        cv2.setNumThreads(0)
        self._compose = albumentations.Compose(transforms)

    def __call__(self, image: np.ndarray, seed: int, epoch: int, key: int, draw: int) -> np.ndarray:
        """The changed image, same shape (H, W, C) and type uint8.

        Args:
            image: uint8 (H, W, C); not changed itself.
            seed: the run's.
            epoch: from 0.
            key: a 64-bit number that stands for the sample's id.
            draw: how often this epoch has drawn the sample before.
        """
        rng = np.random.default_rng((seed, epoch, key, draw))
        second = random.Random(int(rng.integers(2**63)))  # noqa: S311  # no secrets here
        self._compose.set_random_state(rng, second)
        changed = self._compose(image=image)["image"]
        return np.asarray(changed).reshape(image.shape)


def build(section: Named) -> Augmenter | None:
    """The augmentation of a configuration's section `augment`; None for a policy that changes nothing.

    Raises:
        ConfigError: albumentations refuses an argument.
    """
    if entries("augment")[section.name].builder is None:
        return None
    augmenter: Augmenter = builder("augment", section.name)(**section.model_dump(exclude={"name"}))
    return augmenter


def basic(
    *,
    rotate_deg: float,
    shift: float,
    shear_deg: float,
    zoom: float,
    flip: float,
    brightness: float,
    contrast: float,
) -> Augmenter:
    """Rotation, shift, shear and zoom in one interpolation, a left-right flip, brightness and contrast.

    Args:
        rotate_deg: within ± degrees.
        shift: within ± this share of the edge, each way.
        shear_deg: within ± degrees, each way.
        zoom: by a factor within 1 ± this.
        flip: probability.
        brightness: within ± this share of the full range.
        contrast: by a factor within 1 ± this.
    """
    _quiet()
    import cv2

    with warnings.catch_warnings():
        # An argument that albumentations doesn't know is only a warning there, and then lacks its effect.
        warnings.simplefilter("error")
        import albumentations

        try:
            transforms = [
                albumentations.Affine(
                    scale=(1 - zoom, 1 + zoom),
                    translate_percent=(-shift, shift),
                    rotate=(-rotate_deg, rotate_deg),
                    shear=(-shear_deg, shear_deg),
                    border_mode=cv2.BORDER_REFLECT_101,
                    p=1.0,
                ),
                albumentations.HorizontalFlip(p=flip),
                albumentations.RandomBrightnessContrast(
                    brightness_limit=(-brightness, brightness), contrast_limit=(-contrast, contrast), p=1.0
                ),
            ]
        except (UserWarning, ValueError) as error:
            raise ConfigError(f"albumentations refuses the augmentation: {error}") from error
    return Augmenter(transforms)


def _quiet() -> None:
    """albumentations asks the network for a newer version when it is imported, unless it is told not to."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
