"""An augmentation policy."""

from dataclasses import dataclass

import numpy as np

from emotion import counter


@dataclass(frozen=True)
class Mirrored:
    """A left-right flip with probability `p`."""

    p: float

    def __call__(self, images: np.ndarray, streams: np.ndarray) -> np.ndarray:
        flip = counter.uniform(streams, 1)[:, 0] < self.p
        return np.where(flip[:, None, None, None], images[:, :, ::-1], images)
