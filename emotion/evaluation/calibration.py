"""Whether a confidence means what it says, and what to do about it.

What is fitted here (a temperature, a threshold) is fitted on validation predictions only; a table of the test
part is refused, because a number fitted there and reported there would be a promise that nothing has tested.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from emotion.errors import DataError
from emotion.evaluation.intervals import wilson
from emotion.evaluation.metrics import BINS, adaptive_bins, checked, fixed_bins
from emotion.evaluation.predictions import Predictions

SHARPEST, FLATTEST = 0.05, 20.0
"""Bounds of a temperature. Where all validation images are right there is no finite best one."""
LEVELS = 20
"""Coverages (1/20, 2/20 … 1) that a guaranteed threshold is chosen from."""
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: what the logits are divided by; above 1 the network was overconfident.
        log_loss_before: of the validation images, as predicted.
        log_loss_after: of the validation images, scaled.
        at_bound: there is no finite best temperature (all images right, or all wrong); `value` is a bound.
    """

    value: float
    log_loss_before: float
    log_loss_after: float
    at_bound: bool = False

    def apply(self, predictions: Predictions) -> Predictions:
        """The same table with scaled probabilities; no prediction changes, only its confidence."""
        return predictions.with_probabilities(_scaled(_logits(predictions.probabilities), 1 / self.value))


@dataclass(frozen=True)
class Threshold:
    """A confidence from which on answers are given.

    Attributes:
        value: answers with at least this confidence are given; infinite if no threshold keeps the promise.
        coverage: share of the validation images that are answered.
        error: share of mistakes among them; NaN if none is answered.
        bound: the share of mistakes among answers stays below this with the wanted confidence; None where no
            confidence was asked for.
    """

    value: float
    coverage: float
    error: float
    bound: float | None = None


def fit_temperature(predictions: Predictions) -> Temperature:
    """The temperature with the least log loss on validation predictions (Guo et al. 2017).

    The logits are taken from the probabilities, which hold them up to a constant that doesn't matter. The log
    loss is convex in the inverse temperature, so its one minimum is where the slope changes its sign.

    Raises:
        DataError: the table is of the test part.
    """
    from scipy.optimize import brentq

    _refuse_test(predictions, "a temperature")
    logits, labels = _logits(predictions.probabilities), predictions.labels
    own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]

    def slope(inverse: float) -> float:
        return float(((_scaled(logits, inverse) * logits).sum(axis=1) - own).mean())

    def log_loss(inverse: float) -> float:
        right = np.take_along_axis(_scaled(logits, inverse), labels[:, None], axis=1)
        return float(-np.log(right.clip(_TINY)).mean())

    flat, sharp = 1 / FLATTEST, 1 / SHARPEST
    if slope(flat) < 0 < slope(sharp):
        inverse, at_bound = float(brentq(slope, flat, sharp, xtol=1e-10)), False
    else:
        inverse, at_bound = (sharp if slope(sharp) <= 0 else flat), True
    return Temperature(1 / inverse, log_loss(1.0), log_loss(inverse), at_bound)


def reliability(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = BINS, adaptive: bool = False
) -> pl.DataFrame:
    """The bins of a reliability diagram, those without an image too.

    The mean of |accuracy − confidence|, weighted by `count`, is the metric `ece` (or `ece_adaptive`).

    Args:
        labels: (N,) indices of the classes.
        probabilities: (N, K).
        bins: how many.
        adaptive: equally many images a bin instead of equal width.

    Returns:
        One row a bin, by rising confidence: low, high (edges), count, confidence (mean), accuracy, accuracy_low,
        accuracy_high (Wilson's 95 % interval). Null where a bin is empty.

    Raises:
        DataError: as `metrics.compute`.
    """
    truth, values = checked(labels, probabilities)
    confidence = values.max(axis=1)
    right = values.argmax(axis=1) == truth
    bin_of = adaptive_bins(confidence, bins) if adaptive else fixed_bins(confidence, bins)
    rows = []
    for number in range(bins):
        inside = bin_of == number
        count = int(inside.sum())
        ends: tuple[float | None, float | None] = (None, None)
        if not adaptive:
            ends = (number / bins, (number + 1) / bins)
        elif count:
            ends = (float(confidence[inside].min()), float(confidence[inside].max()))
        low, high = wilson(float(right[inside].sum()), count)
        rows.append(
            {
                "low": ends[0],
                "high": ends[1],
                "count": count,
                "confidence": float(confidence[inside].mean()) if count else None,
                "accuracy": float(right[inside].mean()) if count else None,
                "accuracy_low": low if count else None,
                "accuracy_high": high if count else None,
            }
        )
    floats = ("low", "high", "confidence", "accuracy", "accuracy_low", "accuracy_high")
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(floats, pl.Float64))


def risk_coverage(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> pl.DataFrame:
    """The share of mistakes among the surest answers, for each share of images that is answered.

    Images of equal confidence are answered together.

    Returns:
        One row a distinct confidence, falling: threshold, coverage, risk, answered (images).

    Raises:
        DataError: as `metrics.compute`.
    """
    truth, values = checked(labels, probabilities)
    confidence = values.max(axis=1)
    thresholds, rank, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = np.bincount(rank, weights=values.argmax(axis=1) != truth)
    answered = np.cumsum(counts)
    return pl.DataFrame(
        {
            "threshold": -thresholds,
            "coverage": answered / len(truth),
            "risk": np.cumsum(wrong) / answered,
            "answered": answered,
        }
    )


def aurc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Area under the risk–coverage curve (Geifman, Uziel and El-Yaniv 2019): mean risk over all coverages.

    Raises:
        DataError: as `metrics.compute`.
    """
    curve = risk_coverage(labels, probabilities)
    steps = np.diff(curve["coverage"].to_numpy(), prepend=0)
    return float(curve["risk"].to_numpy() @ steps)


def threshold_for(predictions: Predictions, error: float, *, confidence: float | None = None) -> Threshold:
    """The threshold that answers most images with no more than this share of mistakes.

    With a `confidence` the share is promised for new images too: a threshold is taken only where the upper end
    of Clopper and Pearson's interval stays below `error`, at a level divided by the number of thresholds tried
    (as in Geifman and El-Yaniv 2017). Without one it holds on these images only.

    Args:
        predictions: validation predictions.
        error: wanted share of mistakes among the answers.
        confidence: of the promise, such as 0.95.

    Raises:
        DataError: the table is of the test part, or a share is outside its range.
    """
    _refuse_test(predictions, "a threshold")
    if not 0 <= error < 1 or (confidence is not None and not 0 < confidence < 1):
        raise DataError(
            f"expected an error from 0 to 1 and a confidence between 0 and 1, found {error} and {confidence}."
        )
    curve = risk_coverage(predictions.labels, predictions.probabilities)
    curve = curve.with_columns(mistakes=(pl.col("risk") * pl.col("answered")).round())
    if confidence is None:
        found = curve.filter(pl.col("risk") <= error).tail(1).with_columns(bound=None)
    else:
        places = np.searchsorted(curve["coverage"].to_numpy(), np.arange(1, LEVELS + 1) / LEVELS - 1e-12)
        tried = curve[np.unique(places)]
        level = (1 - confidence) / tried.height
        bounds = [_upper(row["mistakes"], row["answered"], level) for row in tried.iter_rows(named=True)]
        found = tried.with_columns(bound=pl.Series(bounds)).filter(pl.col("bound") <= error).tail(1)
    if not found.height:
        return Threshold(math.inf, 0.0, math.nan)
    best = found.row(0, named=True)
    return Threshold(best["threshold"], best["coverage"], best["risk"], best["bound"])


def answered(predictions: Predictions, threshold: Threshold) -> tuple[float, float]:
    """Coverage, and share of mistakes among the answers (NaN if there is none), of a table at a threshold."""
    given = predictions.confidence >= threshold.value
    wrong = predictions.predicted != predictions.labels
    return float(given.mean()), float(wrong[given].mean()) if given.any() else math.nan


def _refuse_test(predictions: Predictions, what: str) -> None:
    if predictions.meta.part == "test":
        raise DataError(
            f"expected validation predictions to fit {what} on, found the test part of {predictions.meta.run}. Fit "
            "on predictions/val.parquet and apply the result to the test part."
        )


def _logits(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.log(probabilities.clip(_TINY))


def _scaled(logits: npt.NDArray[np.float64], inverse: float) -> npt.NDArray[np.float64]:
    powers = np.exp(inverse * (logits - logits.max(axis=1, keepdims=True)))
    return powers / powers.sum(axis=1, keepdims=True)


def _upper(mistakes: float, count: int, level: float) -> float:
    """Upper end of Clopper and Pearson's one-sided interval."""
    from scipy.special import betaincinv

    return 1.0 if mistakes >= count else float(betaincinv(mistakes + 1, count - mistakes, 1 - level))
