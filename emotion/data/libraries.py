"""Augmentation policies of other libraries: the one place that knows albumentations and torchvision's policies.

Both draw from generators with a history and, in several worker processes, from the same one (albumentations 2.0.8: 2
workers, 8 distinct augmentations of 48); here their generators start anew from each image's own stream.
"""

import os
import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion.errors import ConfigError


class Albumentations:
    """Transforms of albumentations, in order.

    Args:
        transforms: for each its name, beside its arguments: `{"name": "GaussNoise", "p": 0.3}`.

    Raises:
        ConfigError: albumentations doesn't know a transform or refuses an argument.
    """

    def __init__(self, transforms: Sequence[dict[str, Any]]) -> None:
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else importing it asks the network for a newer version
        with warnings.catch_warnings():
            # An argument that albumentations doesn't know is only a warning there, and then lacks its effect.
            warnings.simplefilter("error")
            import albumentations

            made = []
            for entry in transforms:
                arguments = dict(entry)
                name = str(arguments.pop("name", ""))
                transform = getattr(albumentations, name, None)
                if not (
                    isinstance(transform, type)
                    and issubclass(
                        transform, albumentations.ImageOnlyTransform | albumentations.DualTransform
                    )
                ):
                    raise ConfigError(
                        f"augment.transforms: expected the name of a transform of albumentations, found {name!r}."
                    )
                try:
                    made.append(transform(**arguments))
                except (UserWarning, ValueError, TypeError) as error:
                    raise ConfigError(f"albumentations refuses {name} with {arguments}: {error}") from error
            self._compose = albumentations.Compose(made)
        self._names = [str(entry.get("name")) for entry in transforms]

    def __call__(self, images: np.ndarray, streams: np.ndarray) -> np.ndarray:
        import cv2

        cv2.setNumThreads(0)
        changed = np.empty_like(images)
        for image, stream, target in zip(images, streams.tolist(), changed, strict=True):
            self._compose.set_random_state(np.random.default_rng(stream), random.Random(stream))  # noqa: S311
            made = np.asarray(self._compose(image=image)["image"])
            if made.dtype != np.uint8 or made.size != image.size:
                raise ConfigError(
                    "augment.transforms: expected images of bytes as large as before, found that "
                    f"{', '.join(self._names)} make {made.dtype} of shape {made.shape} from {image.shape}. Statistics "
                    "and sizes are chosen by preprocess and model.input_size."
                )
            target[:] = made.reshape(image.shape)
        return changed


class Torchvision:
    """A transform of torchvision on each image, after a left-right flip with probability `flip`."""

    def __init__(self, transform: Any, flip: float) -> None:
        from torchvision.transforms import v2

        self._transform = v2.Compose([v2.RandomHorizontalFlip(flip), transform])

    def __call__(self, images: np.ndarray, streams: np.ndarray) -> np.ndarray:
        import torch

        changed = np.empty_like(images)
        with torch.random.fork_rng(devices=[]):
            for image, stream, target in zip(images, streams.tolist(), changed, strict=True):
                torch.manual_seed(stream >> 1)
                made = self._transform(torch.from_numpy(image).permute(2, 0, 1))
                target[:] = made.permute(1, 2, 0).numpy()
        return changed


def trivial(*, flip: float) -> Torchvision:
    """TrivialAugment (Müller & Hutter 2021): one operation of random strength an image."""
    from torchvision.transforms import v2

    return Torchvision(v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR), flip)


def rand(*, operations: int, magnitude: int, flip: float) -> Torchvision:
    """RandAugment (Cubuk et al. 2020): so many operations an image, of a magnitude from 0 to 30."""
    from torchvision.transforms import v2

    transform = v2.RandAugment(operations, magnitude, interpolation=v2.InterpolationMode.BILINEAR)
    return Torchvision(transform, flip)
