"""Mixup and cutmix: a batch mixed with itself in another order."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_PURPOSE = 20  # keeps this random stream apart from dropout's, which has the same seed


@dataclass(frozen=True)
class Mixing:
    """How a training batch is mixed. A function of the step's seed, so that a continued run mixes the same.

    Attributes:
        mixup: α of mixup (Zhang et al. 2018), whose shares are drawn from Beta(α, α); 0: off.
        cutmix: α of cutmix (Yun et al. 2019); 0: off. Where both are on, each batch gets one of them.
    """

    mixup: float
    cutmix: float

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Mixed images and targets of the same shapes.

        Args:
            images: (N, C, H, W) float.
            targets: (N, K) float, probabilities.
            seed: of the step: a function of the run's seed, epoch, batch and rank.
        """
        rng = np.random.default_rng((seed, _PURPOSE))
        cut = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        kept = float(rng.beta(alpha, alpha))
        partners = torch.from_numpy(rng.permutation(len(images)))
        if images.is_cuda:
            # from pageable memory the host would wait until the GPU has done all before the copy
            partners = partners.pin_memory().to(images.device, non_blocking=True)
        if cut:
            top, bottom, left, right = _box(images.shape[-2], images.shape[-1], 1 - kept, rng)
            mixed = images.clone()
            mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
            kept = 1 - (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
        else:
            mixed = kept * images + (1 - kept) * images[partners]
        return mixed, kept * targets + (1 - kept) * targets[partners]


def _box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A rectangle of the image's aspect and `share` of its area around any pixel, cut off at the border.

    Returns:
        First row, row after the last, first column, column after the last.
    """
    edge = np.sqrt(share)
    found: list[int] = []
    for length in (height, width):
        middle, half = int(rng.integers(length)), int(length * edge) // 2
        found += [max(middle - half, 0), min(middle + half, length)]
    top, bottom, left, right = found
    return top, bottom, left, right
