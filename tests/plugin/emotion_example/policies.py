"""An augmentation policy."""

import albumentations

from emotion.data.augment import Augmenter


def mirrored(p: float) -> Augmenter:
    return Augmenter([albumentations.HorizontalFlip(p=p)])
