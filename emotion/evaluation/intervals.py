"""How far a number may be from the truth: an interval for every metric of a test set.

What is drawn: images; or, where they come in groups (a person, a source image), whole groups, because two
pictures of one face tell less than two faces. Images, and groups of one class each, are drawn within their
class, so that the class sizes are taken as given: the question is what another test set *of the same mix* would
have shown. `stratified=False` asks about a new sample from the population, whose mix is left to chance too:
wider, above all for the F1 of rare classes.

How the ends are found, as `method="best"` chooses:

* A share of the images (accuracy, top-2, recall, precision): Wilson's interval; with groups, and for precision,
  at the effective number of images (their number over the design effect, Kish 1965). Class sizes that are taken
  as given tell much of the precision: of a class in fifteen its plain Wilson interval would be a third too wide.
* The AUROC of a class: DeLong's standard error (1988), as the jackknife within the strata gives it, on the logit
  scale, where the ends can't pass 1; with Student's t for the number of the class's images.
* Calibration errors: chance adds to every bin's gap and never takes away, so the error of a test set is too
  high, and a plain bootstrap interval is far too high. The interval holds the errors that the test set's own
  would be no surprise under: its bins' gaps, all larger or smaller by one factor, plus the resamples' chance.
* Everything else: bias-corrected and accelerated percentiles (BCa, Efron 1987; with strata: Davison and
  Hinkley 1997, section 5.3).

In 1,000 simulated test sets with 50 to 300 images a class a 95 % interval holds the truth in 93 to 97 % of
them for all metrics but `ece_classwise`, 92 %, whose 15 bins a class hold a few images each
(tests/evaluation/test_intervals.py, marked slow). An AUROC of 50 to 100 images is held in 93 to 95 % of them up to
0.96, and in 88 to 93 % from 0.985 on, where it hangs on one or two images of the class: the interval then begins too
high. Hanley and McNeil's variance in a score interval (Newcombe 2006) errs to the other side, 96 to 99 % at up to
three times the width, so that it isn't used. Accuracy and top-2 leave the class sizes to chance, as everybody
quotes them: wider than necessary where the recalls of large classes differ much.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from emotion.errors import DataError
from emotion.evaluation.metrics import (
    Evaluator,
    Floats,
    Integers,
    TrustEvaluator,
    calibration_gaps,
    label_ranks,
    metric_names,
)
from emotion.evaluation.predictions import Predictions

Choice = Literal["best", "bca", "percentile"]
Method = Literal["bca", "delong", "inversion", "percentile", "wilson"]

RESAMPLES = 10_000
BLOCK = 256  # columns of weights at a time: what fits a processor's cache; part of what a seed means
FEW = 10  # images, or groups, of a class below which no interval of a macro figure can be trusted
JACKKNIFE_BLOCKS = 250  # a stratum: exact up to here, and in larger ones the acceleration is next to nothing
MACRO = ("balanced_accuracy", "f1_macro", "auroc_macro", "average_precision_macro")
_NORMAL = NormalDist()


class Weighted(Protocol):
    """Metrics (B,) by name for each of B columns of weights (N, B) on the images."""

    @property
    def names(self) -> Sequence[str]: ...

    def __call__(self, weights: Floats) -> Mapping[str, Floats]: ...


@dataclass(frozen=True)
class Interval:
    """A metric with its interval.

    Attributes:
        value: the metric of the test set itself.
        low: lower end; NaN if there is none.
        high: upper end; NaN if there is none.
        method: how the ends were found.
        reliable: False where the interval can't be trusted; `note` then says why and what to do.
        note: what a reader has to know; empty where there is nothing.
    """

    value: float
    low: float
    high: float
    method: Method
    reliable: bool = True
    note: str = ""


@dataclass(frozen=True)
class Units:
    """What a resample draws: images, or groups of them.

    Attributes:
        of_image: (N,) the unit of each image.
        strata: arrays of units; each is drawn from itself, as many as there are.
    """

    of_image: Integers
    strata: tuple[Integers, ...]

    @property
    def count(self) -> int:
        return sum(len(stratum) for stratum in self.strata)

    @property
    def grouped(self) -> bool:
        return self.count < len(self.of_image)


def unit_of_images(groups: Sequence[str | None]) -> Integers:
    """(N,) the unit of each image, counted from 0: its group, or itself where it has none."""
    names = [f"i{row}" if group is None else f"g{group}" for row, group in enumerate(groups)]
    return np.unique(names, return_inverse=True)[1]


def units_of(labels: Integers, groups: Sequence[str | None], *, stratified: bool = True) -> Units:
    """What is drawn of a test set with these labels (N,) and groups; an image without one is its own.

    The strata are the classes, or one for all if `stratified` is False or a group has images of two classes.
    """
    of_image = unit_of_images(groups)
    _, first = np.unique(of_image, return_index=True)
    of_unit = labels[first]
    if stratified and (of_unit[of_image] == labels).all():
        return Units(of_image, tuple(np.flatnonzero(of_unit == k) for k in np.unique(labels)))
    return Units(of_image, (np.arange(len(first)),))


def resample(units: Units, count: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """How often each image occurs in each of `count` resamples: blocks (N, up to 256), the same for a seed."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, BLOCK):
        width = min(BLOCK, count - start)
        times = np.empty((units.count, width), np.float32)
        for stratum in units.strata:
            cells = rng.integers(0, len(stratum), size=(len(stratum), width))
            cells *= width
            cells += np.arange(width)
            drawn = np.bincount(cells.ravel(), minlength=len(stratum) * width)
            times[stratum] = drawn.reshape(len(stratum), width)
        yield times[units.of_image]


_watching: ContextVar[Callable[[int, int], None]] = ContextVar("_watching", default=lambda done, total: None)


@contextmanager
def watched(progress: Callable[[int, int], None]) -> Iterator[None]:
    """Tell `progress` how many resamples of how many are done, for every bootstrap inside the block.

    Whoever has a terminal is far from whoever needs an interval, and nothing between them cares.
    """
    before = _watching.set(progress)
    try:
        yield
    finally:
        _watching.reset(before)


def bootstrap(
    evaluators: Sequence[Callable[[Floats], Mapping[str, Floats]]],
    units: Units,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict[str, Floats]]:
    """What each of the evaluators makes of the very same resamples, (resamples,) values a metric."""
    progress = _watching.get()
    blocks: list[list[Mapping[str, Floats]]] = [[] for _ in evaluators]
    done = 0
    progress(done, resamples)
    for weights in resample(units, resamples, seed):
        for evaluate, found in zip(evaluators, blocks, strict=True):
            found.append(evaluate(weights))
        done += weights.shape[1]
        progress(done, resamples)
    return [_joined(found) for found in blocks]


@dataclass(frozen=True)
class Jackknife:
    """What leaving out units in turn says about a metric.

    Attributes:
        variance: of the metric; of an AUROC it is DeLong's.
        acceleration: the constant of BCa.
    """

    variance: float
    acceleration: float


def jackknife(evaluate: Weighted, units: Units) -> dict[str, Jackknife]:
    """The variance and the acceleration of each metric, from a jackknife within the strata.

    Leaving out a unit keeps its stratum's share: the others of the stratum weigh n/(n−1) each. In a stratum of
    more than `JACKKNIFE_BLOCKS` units blocks of them are left out instead.
    """
    cubes, squares, variances = (dict.fromkeys(evaluate.names, 0.0) for _ in range(3))
    for stratum in units.strata:
        size = len(stratum)
        if size == 1:
            continue
        blocks = min(size, JACKKNIFE_BLOCKS)
        block_of_unit = np.full(units.count, -1)
        block_of_unit[stratum] = np.arange(size) % blocks
        left_out = np.bincount(np.arange(size) % blocks)
        for name, values in _without(evaluate, block_of_unit[units.of_image], left_out, size).items():
            known = ~np.isnan(values)
            if not known.any():
                continue
            influence = (size - left_out[known]) * (values[known].mean() - values[known]) / size
            cubes[name] += float((influence**3).sum())
            squares[name] += float((influence**2).sum())
            variances[name] += float((influence**2).sum()) * blocks / (blocks - 1)
    return {
        name: Jackknife(variances[name], cubes[name] / (6 * squares[name] ** 1.5) if squares[name] else 0.0)
        for name in evaluate.names
    }


def wilson(hits: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (1927); (NaN, NaN) if there is nothing to count.

    >>> [round(end, 3) for end in wilson(0, 10)]
    [0.0, 0.278]
    """
    if count <= 0:
        return float("nan"), float("nan")
    z = _NORMAL.inv_cdf((1 + confidence) / 2)
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, middle - reach), min(1.0, middle + reach)


def estimate(
    predictions: Predictions,
    names: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Choice = "best",
    stratified: bool = True,
) -> dict[str, Interval]:
    """The metrics of a table with their intervals, by name; see the module's docstring.

    The rows' order doesn't matter: the same images give the same intervals.

    Args:
        predictions: the table.
        names: the metrics, all but the supports if None.
        confidence: wanted share of test sets whose interval holds the truth.
        resamples: bootstrap resamples.
        seed: of the resamples; two runs on the same images see the same ones.
        method: `best`, or `bca` or `percentile` for every metric.
        stratified: take the class sizes as given.

    Raises:
        DataError: fewer than two images or groups, an unknown metric, or a confidence outside (0, 1).
    """
    if names is None:
        names = [name for name in metric_names(predictions.classes) if not name.startswith("support/")]
    sample = _sample(predictions, confidence, stratified)
    methods = {name: _method(name, method) for name in names}
    values = sample.values(names)
    drawn = sample.bootstrapped(methods, resamples, seed)
    spread = sample.jackknifed([name for name in names if methods[name] in ("bca", "delong")])
    found = {}
    for name in names:
        if methods[name] == "wilson":
            found[name] = sample.share(name, values[name], confidence)
        else:
            if methods[name] == "inversion":
                ends = _inverted(sample.gaps(name), drawn[name], confidence)
            elif methods[name] == "delong":
                ends = sample.area(name, values[name], spread[name].variance, confidence)
            else:
                bend = spread[name].acceleration if methods[name] == "bca" else None
                ends = _percentiles(drawn[name], values[name], bend, confidence)
            found[name] = sample.judged(name, Interval(values[name], *ends, methods[name]))
    return found


def estimate_trust(
    predictions: Predictions,
    prior: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """`metrics.trust` in a prediction of each class with its interval (BCa), by class.

    What is uncertain are the rates of the confusion matrix; the prior is taken as given.

    Args:
        predictions: the table.
        prior: (K,) shares or counts of the classes in nature.
        confidence: as `estimate`.
        resamples: as `estimate`.
        seed: as `estimate`.

    Raises:
        DataError: as `estimate`, or as `metrics.trust` of the prior.
    """
    sample = _sample(predictions, confidence, stratified=True)
    exact, quick = (
        TrustEvaluator(sample.labels, sample.probabilities, sample.classes, prior, dtype)
        for dtype in (np.float64, np.float32)
    )
    values = {name: float(value[0]) for name, value in exact(np.ones((len(predictions), 1))).items()}
    (drawn,) = bootstrap([quick], sample.units, resamples=resamples, seed=seed)
    spread = jackknife(exact, sample.units)
    found = {}
    for label, name in zip(sample.classes, exact.names, strict=True):
        ends = _percentiles(drawn[name], values[name], spread[name].acceleration, confidence)
        found[label] = sample.judged(name, Interval(values[name], *ends, "bca"))
    return found


def scarce(predictions: Predictions) -> dict[str, int]:
    """The classes that come from under `FEW` images, or groups, and from how many: no macro figure of them is safe."""
    origins = _Sample(predictions, stratified=True).origins
    return {name: int(count) for name, count in zip(predictions.classes, origins, strict=True) if count < FEW}


def too_few(predictions: Predictions, name: str) -> str:
    """Why a table has too few images, or groups, to draw this metric from, as a clause; empty where it has enough."""
    return _Sample(predictions, stratified=True).too_few(name)


def _sample(predictions: Predictions, confidence: float, stratified: bool) -> "_Sample":
    if not 0 < confidence < 1:
        raise DataError(f"expected a confidence between 0 and 1, such as 0.95, found {confidence}.")
    sample = _Sample(predictions, stratified)
    if sample.units.count < 2:
        raise DataError(
            f"expected at least two independent images or groups for an interval, found {sample.units.count} "
            f"({_number(len(predictions), 'image')})."
        )
    return sample


class _Sample:
    """A table's images in the order of their ids, with what its intervals need to know about them."""

    def __init__(self, predictions: Predictions, stratified: bool) -> None:
        order = np.argsort(predictions.ids)
        self.classes = predictions.classes
        self.labels = predictions.labels[order]
        self.probabilities = predictions.probabilities[order]
        self.units = units_of(self.labels, [predictions.groups[row] for row in order], stratified=stratified)

    @cached_property
    def images(self) -> Integers:
        """(K,) images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @cached_property
    def origins(self) -> Integers:
        """(K,) images, or groups, that each class comes from."""
        pairs = np.unique(np.stack([self.labels, self.units.of_image]), axis=1)
        return np.bincount(pairs[0], minlength=len(self.classes))

    def values(self, names: Sequence[str]) -> dict[str, float]:
        evaluate = Evaluator(self.labels, self.probabilities, self.classes, names)
        return {name: float(value[0]) for name, value in evaluate(np.ones((len(self.labels), 1))).items()}

    def gaps(self, name: str) -> Floats:
        """(M, 1) mean gap of each bin of a calibration error."""
        return _Gaps([name], self.labels, self.probabilities)(np.ones((len(self.labels), 1)))[name]

    def bootstrapped(self, methods: Mapping[str, Method], resamples: int, seed: int) -> dict[str, Floats]:
        """What the methods need of the resamples: metrics (resamples,), or gaps (M, resamples)."""
        plain = [name for name, method in methods.items() if method in ("bca", "percentile")]
        gaps = [name for name, method in methods.items() if method == "inversion"]
        evaluators: list[Callable[[Floats], Mapping[str, Floats]]] = []
        if plain:
            evaluators.append(Evaluator(self.labels, self.probabilities, self.classes, plain, np.float32))
        if gaps:
            evaluators.append(_Gaps(gaps, self.labels, self.probabilities, np.float32))
        if not evaluators:
            return {}
        found = bootstrap(evaluators, self.units, resamples=resamples, seed=seed)
        return {name: values for part in found for name, values in part.items()}

    def jackknifed(self, names: Sequence[str]) -> dict[str, Jackknife]:
        if not names:
            return {}
        return jackknife(Evaluator(self.labels, self.probabilities, self.classes, names), self.units)

    def area(self, name: str, value: float, variance: float, confidence: float) -> tuple[float, float]:
        """The ends around the AUROC of a class, symmetric on the logit scale; NaN where it isn't defined."""
        from scipy.special import expit, logit, stdtrit

        positive = int(self.origins[self.classes.index(name.partition("/")[2])])
        freedom = min(positive, self.units.count - positive) - 1
        if np.isnan(value) or freedom < 1:
            return float("nan"), float("nan")
        if not variance or not 0 < value < 1:
            return value, value
        reach = float(stdtrit(freedom, (1 + confidence) / 2)) * variance**0.5 / (value * (1 - value))
        return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))

    def share(self, name: str, value: float, confidence: float) -> Interval:
        """Wilson's interval of a metric that is a share of some of the images."""
        kind, _, label = name.partition("/")
        among = np.ones(len(self.labels), bool)
        if label:
            shown = self.labels if kind == "recall" else self.probabilities.argmax(axis=1)
            among = shown == self.classes.index(label)
        if not among.any():
            absent = "has no image in this set" if kind == "recall" else "is never predicted"
            return Interval(value, np.nan, np.nan, "wilson", False, f"{label} {absent}.")
        hits = label_ranks(self.labels, self.probabilities) < (2 if kind == "top2_accuracy" else 1)
        count = float(among.sum())
        strata: tuple[Integers, ...] = (np.unique(self.units.of_image[among]),)
        if kind == "precision" and min(count, self.origins[self.classes.index(label)]) >= FEW:
            strata = self.units.strata
        if self.units.grouped or len(strata) > 1:
            count = _effective(hits, among, self.units.of_image, strata)
        interval = Interval(value, *wilson(value * count, count, confidence), "wilson")
        origins = len(np.unique(self.units.of_image[among]))
        if self.units.grouped and origins < FEW:
            return _unreliable(interval, f"the images come from {_number(origins, 'group')} (under {FEW})")
        return interval

    def too_few(self, name: str) -> str:
        """As the function of that name."""
        label = name.partition("/")[2]
        concerned = (
            range(len(self.classes)) if name in MACRO else [self.classes.index(label)] if label else []
        )
        few = [
            f"{self.classes[k]} has {_number(int(self.images[k]), 'image')}"
            + (
                f" from {_number(int(self.origins[k]), 'group')}"
                if 0 < self.origins[k] < self.images[k]
                else ""
            )
            for k in concerned
            if self.origins[k] < FEW
        ]
        if few:
            return f"{', '.join(few)} (under {FEW})"
        if self.units.grouped and self.units.count < FEW:
            return f"the images come from {_number(self.units.count, 'group')} (under {FEW})"
        return ""

    def judged(self, name: str, interval: Interval) -> Interval:
        """The interval, marked if it can't be trusted."""
        few = self.too_few(name)
        if few:
            return _unreliable(interval, few)
        if np.isnan(interval.low):
            return _unreliable(interval, "the metric isn't defined in a resample")
        if interval.low == interval.high:
            return _unreliable(interval, "all resamples give the same value")
        if interval.value > interval.high:
            note = "chance makes a calibration error larger than it is; the interval is corrected for that."
            return replace(interval, note=note)
        return interval


class _Gaps:
    """The mean gap of each bin of calibration errors, whose sizes sum to the error."""

    def __init__(
        self,
        names: Sequence[str],
        labels: Integers,
        probabilities: Floats,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        self._sums = {name: calibration_gaps(name, labels, probabilities, dtype) for name in names}
        self._parts = {name: probabilities.shape[1] if name == "ece_classwise" else 1 for name in names}

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=0)
        return {name: sums @ weights / total / self._parts[name] for name, sums in self._sums.items()}


def _unreliable(interval: Interval, why: str) -> Interval:
    note = f"interval not reliable: {why}; the pooled out-of-fold table of a k-fold sweep has more images."
    return replace(interval, reliable=False, note=note)


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _method(name: str, choice: Choice) -> Method:
    if choice != "best":
        return choice
    if name.startswith("auroc/"):
        return "delong"
    if name in ("accuracy", "top2_accuracy") or name.startswith(("recall/", "precision/")):
        return "wilson"
    return "inversion" if name.startswith("ece") else "bca"


def _percentiles(draws: Floats, value: float, bend: float | None, confidence: float) -> tuple[float, float]:
    """The ends of a percentile interval, or of BCa if there is an acceleration; NaN where nothing is defined."""
    draws = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(draws):
        return float("nan"), float("nan")
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    # half of the equal ones: a metric of few images takes few values
    below = float((draws < value).mean() + (draws == value).mean() / 2)
    if bend is not None and 0 < below < 1:
        start = _NORMAL.inv_cdf(below)
        moved = [start + _NORMAL.inv_cdf(tail) for tail in tails]
        lower, upper = (_NORMAL.cdf(start + z / (1 - bend * z)) for z in moved)
        tails = (lower, upper)
    low, high = np.quantile(draws, tails).tolist()
    return low, high


def _inverted(gaps: Floats, drawn: Floats, confidence: float) -> tuple[float, float]:
    """The calibration errors under which the measured one is no surprise, from gaps (M, 1) and drawn ones (M, B).

    A factor on all gaps stands for the unknown truth. Under a factor the error would be the sum of the sizes of
    the scaled gaps, each with a resample's chance added; the ends are the factors at which the measured error
    becomes too large, or too small, to be expected.
    """
    chance = drawn - gaps
    measured = float(np.abs(gaps).sum())
    if not measured:
        return 0.0, 0.0

    def exceeded(factor: float) -> float:
        """How often the error under this factor is no larger than the measured one; it falls with the factor."""
        return float((np.abs(factor * gaps + chance).sum(axis=0) <= measured).mean())

    def solved(share: float) -> float:
        below, above = 0.0, 1 + float(np.abs(chance).sum(axis=0).max()) / measured
        if exceeded(below) <= share:
            return 0.0
        for _ in range(20):
            middle = (below + above) / 2
            below, above = (middle, above) if exceeded(middle) > share else (below, middle)
        return (below + above) / 2

    return solved((1 + confidence) / 2) * measured, solved((1 - confidence) / 2) * measured


def _joined(blocks: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    return {name: np.concatenate([block[name] for block in blocks], axis=-1) for name in blocks[0]}


def _without(
    evaluate: Weighted, block_of_image: Integers, left_out: Integers, size: int
) -> dict[str, Floats]:
    """The metrics with each block left out in turn; images of block −1 belong to other strata."""
    found: list[Mapping[str, Floats]] = []
    here = block_of_image >= 0
    for start in range(0, len(left_out), BLOCK):
        blocks = np.arange(start, min(start + BLOCK, len(left_out)))
        weights = np.where(here[:, None], size / (size - left_out[blocks]), 1.0)
        weights[block_of_image[:, None] == blocks] = 0
        found.append(evaluate(weights))
    return _joined(found)


def _effective(
    hits: npt.NDArray[np.bool_],
    among: npt.NDArray[np.bool_],
    unit_of_image: Integers,
    strata: Sequence[Integers],
) -> float:
    """How many independent images have told as much about the share of hits among some images (N,).

    The share is a ratio of two sums over units; its variance is that of the linearised ratio, within the strata.
    Without strata images of one group are taken to tell no more than as many single ones.
    """
    count, share = int(among.sum()), float(hits[among].mean())
    gaps = np.bincount(unit_of_image, weights=np.where(among, hits - share, 0.0))
    variance = sum(
        len(units) / (len(units) - 1) * float(((gaps[units] - gaps[units].mean()) ** 2).sum())
        for units in strata
        if len(units) > 1
    )
    if share in (0.0, 1.0) or not variance:
        return float(len(np.unique(unit_of_image[among])))
    effective = share * (1 - share) * count**2 / variance
    return effective if len(strata) > 1 else min(float(count), effective)
