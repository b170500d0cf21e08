"""How far people agree beyond chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emotion.errors import DataError


def cohen_kappa(first: npt.ArrayLike, second: npt.ArrayLike, classes: int) -> float:
    """Agreement of two raters (Cohen 1960): 1 is complete, 0 what their class frequencies give by chance.

    Args:
        first, second: (N,) int, each one's class of every image.

    Returns:
        NaN where both always say the same one class: nothing could differ from chance.

    Raises:
        DataError: no images, or not the same number.

    >>> cohen_kappa([0, 0, 1, 1], [0, 0, 1, 0], 2)
    0.5
    """
    a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    if a.shape != b.shape or not a.size:
        raise DataError(f"expected two answers to each image, found {a.size} and {b.size}.")
    shares = np.bincount(a, minlength=classes) / a.size, np.bincount(b, minlength=classes) / b.size
    return _kappa(float((a == b).mean()), float(shares[0] @ shares[1]))


def fleiss_kappa(ratings: npt.ArrayLike, classes: int) -> float:
    """Agreement of several raters (Fleiss 1971), as `cohen_kappa`.

    Args:
        ratings: (N, R) int: R ≥ 2 raters' classes of each of N images.

    Raises:
        DataError: fewer than two raters, or no images.
    """
    answers = np.asarray(ratings, dtype=np.int64)
    if answers.ndim != 2 or answers.shape[1] < 2 or not len(answers):
        raise DataError(f"expected (images, at least 2 raters), found the shape {answers.shape}.")
    raters = answers.shape[1]
    counts = (answers[:, :, None] == np.arange(classes)).sum(1)
    observed = (counts * (counts - 1)).sum() / (len(answers) * raters * (raters - 1))
    shares = counts.sum(0) / counts.sum()
    return _kappa(float(observed), float(shares @ shares))


def _kappa(observed: float, chance: float) -> float:
    return float("nan") if chance == 1 else (observed - chance) / (1 - chance)
