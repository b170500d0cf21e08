"""A published accuracy beside ours: the difference, its interval, and what may be said of it.

Theirs is known by the number and its n alone, so its variance is p(1 − p)/n. Ours has several runs on the same images,
and both were drawn: J runs crossed with N images. With effects of the image, of the run and of both together, the
mean has the variance σ²(images)/N + σ²(runs)/J + σ²(rest)/(N·J). The mean squares of the two-way analysis of variance
with one observation a cell have the expectations σ²(rest) + J·σ²(images), σ²(rest) + N·σ²(runs) and σ²(rest) (Schultz
1955, Biometrics 11:123–135), so that (MS(images) + MS(runs) − MS(rest))/(N·J) estimates it. Images that come in groups
(a person) are drawn as groups. Folds hold different images and share training images: the variance of their mean is
(1/J + 1/(J − 1))·s², Nadeau and Bengio's correction (2003, Machine Learning 52:239–281) with a test part that is
1/(J − 1) of the training part; it was derived for random splits and is customary for folds. An accuracy of exactly 0
or 1 has no variance of its own; two hits and two misses are added then (Agresti and Coull 1998, The American
Statistician 52:119–126). The interval is Student's, with the degrees of freedom of Satterthwaite (1946). Tests hold its
coverage against simulations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from emotion.errors import DataError
from emotion.evaluation.comparison import aligned
from emotion.evaluation.intervals import unit_of_images
from emotion.evaluation.predictions import Predictions

NARROW = 0.05

Verdict = Literal["reproduced", "undecided", "above", "below"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Our accuracy over runs.

    Attributes:
        value: the mean over runs.
        sd: standard deviation of single runs (n − 1); None for one run.
        runs: how many there are.
        folded: they are the folds of a cross-validation.
        parts: (variance, degrees of freedom) whose sum is the variance of `value`.
    """

    value: float
    sd: float | None
    runs: int
    folded: bool
    parts: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Gap:
    """A difference and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Beside:
    """Ours minus theirs.

    Attributes:
        value: the difference.
        low: lower end of the 95 % interval.
        high: upper end.
        verdict: reproduced (0 is inside, which is no wider than ± 5 points), undecided (0 is inside a wider one), above
            or below (0 is outside).
    """

    value: float
    low: float
    high: float
    verdict: Verdict


def measure(tables: Sequence[Predictions]) -> Measured:
    """Our accuracy and its variance, from tables of the same images (runs) or of a fold each.

    Raises:
        DataError: no table, one fold alone, or as `aligned`.
    """
    if not tables:
        raise DataError("expected at least one prediction table, found none.")
    folds = [table.frame["fold"][0] for table in tables]
    if tables[0].meta.part == "val" and folds[0] is not None:
        return _folded(tables, folds)
    same = aligned(tables) if len(tables) > 1 else tables
    hits = np.stack([(table.predicted == table.labels).astype(np.float64) for table in same])
    return crossed(hits, same[0].groups)


def crossed(hits: Floats, groups: Sequence[str | None]) -> Measured:
    """As `measure`, from what each run got right, (J, N) of 0 and 1, and the group of each image."""
    runs, count = hits.shape
    value, accuracies = float(hits.mean()), hits.mean(axis=1)
    unit = unit_of_images(groups)
    units = int(unit.max()) + 1
    # the sum over a unit's images of what exceeds the mean: with units of one image these are its residuals
    sums = np.stack([np.bincount(unit, weights=row - value, minlength=units) for row in hits])
    by_unit = sums.mean(axis=0)
    if units < 2:
        raise DataError("expected at least two images or groups, found one.")
    images = units / (units - 1) * float((by_unit**2).sum()) / count**2
    if value in (0.0, 1.0):  # without a single difference: not a number without error
        images = _share_variance(value, units)
    if runs == 1:
        return Measured(value, None, 1, False, ((images, units - 1),))
    between = float(accuracies.var(ddof=1))
    rest = sums - by_unit - (sums.sum(axis=1, keepdims=True) / units)
    remaining = float((rest**2).sum()) * units / ((units - 1) * (runs - 1)) / count**2
    # MS(rest)/(N·J) is in both of the others, so it is taken off once; never below the images' own part
    training = max(0.0, between / runs - remaining / runs)
    return Measured(value, math.sqrt(between), runs, False, ((images, units - 1), (training, runs - 1)))


def _folded(tables: Sequence[Predictions], folds: Sequence[int]) -> Measured:
    """Folds, of one seed or several; the seeds of a fold are averaged first."""
    by_fold: dict[int, list[float]] = {}
    for table, fold in zip(tables, folds, strict=True):
        by_fold.setdefault(int(fold), []).append(float((table.predicted == table.labels).mean()))
    values = np.array([np.mean(found) for found in by_fold.values()])
    if len(values) < 2:
        raise DataError(f"expected at least two folds, found {len(values)}.")
    count, variance = len(values), float(values.var(ddof=1))
    error = (1 / count + 1 / (count - 1)) * variance
    return Measured(float(values.mean()), math.sqrt(variance), count, True, ((error, count - 1),))


def _share_variance(share: float, n: int) -> float:
    """Of a proportion of `n`, none or all of which count: Agresti and Coull's, with two hits and two misses more."""
    adjusted = (share * n + 2) / (n + 4)
    return adjusted * (1 - adjusted) / (n + 4)


def beside(ours: Measured, published: float, n: int, *, confidence: float = 0.95) -> Beside:
    """The difference of our accuracy to a published one that was measured on `n` images.

    Raises:
        DataError: a share outside [0, 1] or n below 2.
    """
    if not 0 <= published <= 1 or n < 2:
        raise DataError(
            f"expected a share and the number of images behind it, found {published} of {n} images."
        )
    theirs = published * (1 - published) / n if 0 < published < 1 else _share_variance(published, n)
    parts = [*ours.parts, (theirs, n - 1)]
    found = gap(ours.value - published, parts, confidence=confidence)
    verdict: Verdict
    if found.low > 0:
        verdict = "above"
    elif found.high < 0:
        verdict = "below"
    else:
        verdict = "reproduced" if found.high - found.value <= NARROW else "undecided"
    return Beside(found.value, found.low, found.high, verdict)


def gap(value: float, parts: Sequence[tuple[float, float]], *, confidence: float = 0.95) -> Gap:
    """Student's interval around a difference.

    Args:
        parts: (variance, degrees of freedom) of independent errors, which add up.
    """
    from scipy.special import stdtrit

    variance = sum(part for part, _ in parts)
    if not variance:
        return Gap(value, value, value)
    doubt = sum(part**2 / of for part, of in parts)
    freedom = variance**2 / doubt if doubt else math.inf
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(variance)
    return Gap(value, value - reach, value + reach)
