"""The metrics, each as a function of weights on the images.

With a weight of one an image they are the ordinary metrics; with the counts of a bootstrap resample, or with
one image's weight lowered, they are what the intervals need. One implementation serves both, for many columns
of weights at once. Definitions, where the field has several:

* `accuracy` is micro. `balanced_accuracy` (UAR) is the mean recall of the classes that occur.
* A class that is never predicted or doesn't occur has precision, recall and F1 of 0, and counts in `f1_macro`
  (as scikit-learn with `labels=` all of them and `zero_division=0`).
* `auroc/<class>` and `average_precision/<class>` are one against the rest; NaN where the class (for the AUROC
  also: the rest) doesn't occur, and then left out of their macro means.
* `kappa` is NaN if labels and predictions are all of one and the same class; `mcc` is 0 if either is all of
  one class.
* `brier` is the sum over the classes (0 to 2, Brier 1950). `log_loss` takes a probability of 0 as 2.2e-16.
* `ece`: gap between confidence and accuracy over 15 bins of equal width (Guo et al. 2017). `ece_adaptive`:
  over 15 bins of equally many images, equal confidences staying together (Nguyen and O'Connor 2015).
  `ece_classwise`: mean over the classes of the gap between a class's probability and its frequency (Kull et
  al. 2019). All three are biased upwards on small sets.
* `top2_accuracy`: of equal probabilities the first class is the higher one, as it is for `accuracy`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emotion.errors import DataError
from emotion.evaluation.predictions import Predictions, probability_fault

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]
BINS = 15

COUNT_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "kappa", "mcc")
CLASS_METRICS = ("precision", "recall", "f1", "support", "auroc", "average_precision")
"""Metrics that exist once a class, named `<metric>/<class>`."""

LOWER_IS_BETTER = ("log_loss", "brier", "ece", "ece_adaptive", "ece_classwise")


def compute(labels: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str]) -> dict[str, float]:
    """All metrics of a test set, by name.

    Args:
        labels: (N,) indices into `classes`.
        probabilities: (N, K), rows summing to one.
        classes: K names in label order.

    Returns:
        A value for each metric; NaN where it isn't defined (see the module's docstring).

    Raises:
        DataError: labels outside the classes, or probabilities that are none.
    """
    evaluate = Evaluator(labels, probabilities, classes)
    values = evaluate(np.ones((evaluate.count, 1)))
    return {name: float(value[0]) for name, value in values.items()}


def value(table: Predictions, name: str) -> float:
    """One metric of a prediction table; NaN where it isn't defined.

    Raises:
        DataError: an unknown metric name.
    """
    evaluate = Evaluator(table.labels, table.probabilities, table.classes, [name])
    return float(evaluate(np.ones((len(table), 1)))[name][0])


def to_json(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same values for a JSON file, which has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


class Evaluator:
    """The metrics of one table of labels and probabilities, for any weights on its images.

    Attributes:
        count: N, the number of images.
        names: the metrics that are computed.

    Args:
        labels: (N,) indices into `classes`.
        probabilities: (N, K).
        classes: K names in label order.
        names: the metrics that are wanted, all if None. Families that hold none of them aren't computed.
        dtype: float32 is enough for, and twice as fast in, a bootstrap.

    Raises:
        DataError: as `compute`; or an unknown metric name.
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        probabilities: npt.ArrayLike,
        classes: Sequence[str],
        names: Sequence[str] | None = None,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        truth, values = checked(labels, probabilities, classes)
        self.count = len(truth)
        self.names = tuple(names) if names is not None else metric_names(classes)
        unknown = sorted(set(self.names) - set(metric_names(classes)))
        if unknown:
            raise DataError(_unknown(unknown, classes))
        self._families = [
            family(truth, values, classes, np.dtype(dtype))
            for family, members in _FAMILIES.items()
            if set(members(classes)) & set(self.names)
        ]

    def __call__(self, weights: Floats) -> dict[str, npt.NDArray[np.float64]]:
        """The metrics (B,) for each of B columns of weights (N, B), in the order of the wanted names."""
        found: dict[str, Floats] = {}
        with np.errstate(divide="ignore", invalid="ignore"):
            for family in self._families:
                found |= family(weights)
        return {name: found[name].astype(np.float64) for name in self.names}


def metric_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of all metrics for these classes."""
    return tuple(name for members in _FAMILIES.values() for name in members(classes))


def _unknown(names: Sequence[str], classes: Sequence[str]) -> str:
    whole = [name for name in metric_names(classes) if "/" not in name]
    near = [get_close_matches(name, metric_names(classes), n=1) for name in names]
    meant = f" Did you mean {' and '.join(found[0] for found in near if found)}?" if any(near) else ""
    return (
        f"expected metrics among {', '.join(whole)}, or {', '.join(CLASS_METRICS)} of a class, such as "
        f"recall/{classes[0]} (classes: {', '.join(classes)}); found {', '.join(names)}.{meant}"
    )


def confusion_matrix(labels: Integers, predicted: Integers, n_classes: int) -> npt.NDArray[np.int64]:
    """(K, K) counts; a row is a true class, a column a predicted one."""
    cells = np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def from_confusion(confusion: npt.ArrayLike, classes: Sequence[str]) -> dict[str, Floats]:
    """The metrics that a confusion matrix determines, for a published one as for ours.

    Args:
        confusion: (K, K) or, for many at once, (K, K, B) counts; rows are true classes.
        classes: K names in label order.

    Returns:
        Arrays of shape () or (B,).
    """
    counts = np.asarray(confusion, dtype=np.float64)
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    hits = np.einsum("kk...->k...", counts)
    total, right = support.sum(axis=0), hits.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(predicted > 0, hits / predicted, 0.0)
        recall = np.where(support > 0, hits / support, 0.0)
        f1 = np.where(support + predicted > 0, 2 * hits / (support + predicted), 0.0)
        chance = (support * predicted).sum(axis=0)
        spread = (total**2 - (support**2).sum(axis=0)) * (total**2 - (predicted**2).sum(axis=0))
        found = {
            "accuracy": right / total,
            "balanced_accuracy": recall.sum(axis=0) / (support > 0).sum(axis=0),
            "f1_macro": f1.mean(axis=0),
            "f1_weighted": (f1 * support).sum(axis=0) / total,
            "kappa": (right * total - chance) / (total**2 - chance),
            "mcc": np.where(spread > 0, (right * total - chance) / np.sqrt(spread), 0.0),
        }
    tables = (("precision", precision), ("recall", recall), ("f1", f1), ("support", support))
    return found | {f"{name}/{label}": table[k] for name, table in tables for k, label in enumerate(classes)}


def trust(confusion: npt.ArrayLike, prior: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
    """How often a prediction of class k is right where the classes occur as often as `prior` says.

    Bayes: P(k | predicted k) = P(predicted k | k) π_k / Σ_j P(predicted k | j) π_j, with the rates of the
    confusion matrix. With the test set's own shares it is the precision; a test set that was balanced needs
    the natural shares, or a rare class looks far more trustworthy than it will be in use.

    Args:
        confusion: (K, K) or, for many at once, (K, K, B) counts; rows are true classes.
        prior: (K,) shares or counts in nature; the test set's own if None.

    Returns:
        (K,) or (K, B) probabilities; NaN for a class that is never predicted or doesn't occur in the test set. The
        rates of a class that doesn't occur aren't known: its share is left out.

    Raises:
        DataError: the prior isn't K finite shares that are zero or more, and not all zero.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    support = counts.sum(axis=1)
    shares = support
    if prior is not None:
        given = np.asarray(prior, dtype=np.float64)
        if (
            given.shape != (len(support),)
            or not np.isfinite(given).all()
            or (given < 0).any()
            or not given.any()
        ):
            raise DataError(
                f"expected a prior of {len(support)} shares, zero or more, found {given.tolist()}."
            )
        shares = np.expand_dims(given, tuple(range(1, support.ndim)))
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(support[:, None] > 0, counts / support[:, None], 0.0)
        joint = rates * (shares / shares.sum(axis=0))[:, None]
        found = np.einsum("kk...->k...", joint) / joint.sum(axis=0)
    return np.where(support > 0, found, np.nan)


class TrustEvaluator:
    """`trust` in each class, for any weights on the images: what its interval needs.

    Attributes:
        names: `trust/<class>`, in the order of the classes.

    Args:
        labels: as `compute`.
        probabilities: as `compute`.
        classes: as `compute`.
        prior: as `trust`.
        dtype: as `Evaluator`.

    Raises:
        DataError: as `compute`.
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        probabilities: npt.ArrayLike,
        classes: Sequence[str],
        prior: npt.ArrayLike,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        truth, values = checked(labels, probabilities, classes)
        self.names = tuple(f"trust/{label}" for label in classes)
        self._prior = prior
        self._sums = _sums(truth * len(classes) + values.argmax(axis=1), len(classes) ** 2, dtype)

    def __call__(self, weights: Floats) -> dict[str, npt.NDArray[np.float64]]:
        """The trust in each class (B,) for each of B columns of weights (N, B)."""
        count = len(self.names)
        confusion = (self._sums @ weights).reshape(count, count, -1)
        return dict(zip(self.names, trust(confusion, self._prior), strict=True))


def label_ranks(labels: Integers, probabilities: Floats) -> npt.NDArray[np.int64]:
    """(N,) how many classes come before the label by falling probability: 0 if the prediction is right."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    return ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)


def fixed_bins(values: Floats, bins: int = BINS) -> npt.NDArray[np.int64]:
    """The bin of each value among `bins` of equal width over [0, 1], each open below and closed above."""
    return np.searchsorted(np.arange(1, bins) / bins, values, side="left")


def adaptive_bins(values: Floats, bins: int = BINS) -> npt.NDArray[np.int64]:
    """The bin of each value among `bins` that hold equally many values, equal values staying together."""
    rank = np.unique(values, return_inverse=True)[1]
    ends = _bin_ends(np.cumsum(np.bincount(rank)), bins)
    return np.searchsorted(ends, rank, side="left").reshape(np.shape(values)).clip(max=bins - 1)


def calibration_gaps(
    name: str, labels: Integers, probabilities: Floats, dtype: npt.DTypeLike = np.float64
) -> "csr_array[Any, tuple[int, int]]":
    """A matrix (M, N): its product with weights (N, B) is each bin's gap, hits minus confidences, as a sum.

    Args:
        name: `ece`, `ece_adaptive` (with the bins that equal weights give) or `ece_classwise` (K × 15 bins).
        labels: (N,) indices of the classes.
        probabilities: (N, K).
        dtype: of the matrix.
    """
    if name == "ece_classwise":
        from scipy.sparse import vstack

        rows = [_sums(fixed_bins(p), BINS, dtype, (labels == k) - p) for k, p in enumerate(probabilities.T)]
        return vstack(rows, format="csr")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = adaptive_bins(confidence) if name == "ece_adaptive" else fixed_bins(confidence)
    return _sums(bins, BINS, dtype, right - confidence)


def _bin_ends(running: npt.NDArray[Any], bins: int) -> npt.NDArray[np.int64]:
    """Index of the last value in each of the first `bins - 1` bins, from the running sum of the weights.

    A bin ends at the first value where its share of the whole weight is reached, so equal values never part.
    """
    return np.searchsorted(running, float(running[-1]) * np.arange(1, bins) / bins, side="left")


def checked(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The same as arrays, int64 (N,) and float64 (N, K), after checking them.

    Args:
        labels: (N,) indices of the classes.
        probabilities: (N, K).
        classes: K names, if the caller has them.

    Raises:
        DataError: labels outside the classes, or probabilities that are none.
    """
    truth, values = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    count = len(classes) if classes is not None else values.shape[-1] if values.ndim else 0
    if truth.ndim != 1 or values.shape != (len(truth), count) or not len(truth):
        raise DataError(
            f"expected labels (N,) and probabilities (N, {count}) of at least one image, found the shapes "
            f"{truth.shape} and {values.shape}."
        )
    if not np.issubdtype(truth.dtype, np.integer) or truth.min() < 0 or truth.max() >= count:
        raise DataError(
            f"expected whole numbers from 0 to {count - 1} as labels, found {truth.dtype} values from "
            f"{truth.min()} to {truth.max()}."
        )
    fault = probability_fault(values)
    if fault:
        raise DataError(f"{fault[1]} (row {fault[0]}).")
    return truth.astype(np.int64), values


def _sums(
    rows: Integers, n_rows: int, dtype: npt.DTypeLike, values: Floats | None = None
) -> "csr_array[Any, tuple[int, int]]":
    """A matrix (n_rows, N): its product with weights (N, B) sums, in row r, the weights where rows == r.

    Images whose row is −1 are left out; with `values` (N,) each weight counts that many times.
    """
    from scipy.sparse import csr_array

    images = np.flatnonzero(rows >= 0)
    entries = np.ones(len(images), dtype) if values is None else values[images].astype(dtype)
    return csr_array((entries, (rows[images], images)), shape=(n_rows, len(rows)))


def _running(rows: Floats) -> Floats:
    """`np.cumsum(rows, axis=0)` in place, several times as fast: NumPy's walks down one column at a time."""
    for upper, lower in pairwise(rows):
        lower += upper
    return rows


class _Counts:
    """Metrics of the confusion matrix."""

    def __init__(
        self, labels: Integers, probabilities: Floats, classes: Sequence[str], dtype: np.dtype[Any]
    ) -> None:
        self._classes = classes
        cells = labels * len(classes) + probabilities.argmax(axis=1)
        self._sums = _sums(cells, len(classes) ** 2, dtype)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        count = len(self._classes)
        return from_confusion((self._sums @ weights).reshape(count, count, -1), self._classes)


class _Scores:
    """Means over the images of one number each."""

    def __init__(
        self, labels: Integers, probabilities: Floats, classes: Sequence[str], dtype: np.dtype[Any]
    ) -> None:
        own = np.take_along_axis(probabilities, labels[:, None], axis=1)
        log_loss = -np.log(own[:, 0].clip(np.finfo(np.float64).eps, 1))
        target = np.eye(len(classes))[labels]
        brier = ((probabilities - target) ** 2).sum(axis=1)
        second = label_ranks(labels, probabilities) < 2
        self._values = np.stack([log_loss, brier, second]).astype(dtype)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        means = (self._values @ weights) / weights.sum(axis=0)
        return dict(zip(("log_loss", "brier", "top2_accuracy"), means, strict=True))


class _FixedBins:
    """Calibration errors whose bins don't depend on the weights."""

    def __init__(
        self, labels: Integers, probabilities: Floats, classes: Sequence[str], dtype: np.dtype[Any]
    ) -> None:
        self._count = len(classes)
        self._top = calibration_gaps("ece", labels, probabilities, dtype)
        self._classwise = calibration_gaps("ece_classwise", labels, probabilities, dtype)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=0)
        return {
            "ece": np.abs(self._top @ weights).sum(axis=0) / total,
            "ece_classwise": np.abs(self._classwise @ weights).sum(axis=0) / total / self._count,
        }


class _AdaptiveBins:
    """Calibration error over bins of equal weight."""

    def __init__(
        self, labels: Integers, probabilities: Floats, classes: Sequence[str], dtype: np.dtype[Any]
    ) -> None:
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
        ordered, rank = np.unique(confidence, return_inverse=True)
        self._weights = _sums(rank, len(ordered), dtype)
        self._gaps = _sums(rank, len(ordered), dtype, right - confidence)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        running = np.ascontiguousarray(_running(self._weights @ weights).T)
        gaps = _running(self._gaps @ weights)
        ends = np.stack([_bin_ends(column, BINS) for column in running], axis=1)
        at_ends = np.take_along_axis(gaps, ends, axis=0)
        bins = np.diff(at_ends, axis=0, prepend=0, append=gaps[-1:])
        return {"ece_adaptive": np.abs(bins).sum(axis=0) / running[:, -1]}


class _Ranking:
    """Areas under the ROC and the precision–recall curves, one class against the rest."""

    def __init__(
        self, labels: Integers, probabilities: Floats, classes: Sequence[str], dtype: np.dtype[Any]
    ) -> None:
        self._classes = classes
        self._curves = [
            _Curve(labels == k, probabilities[:, k], dtype) if (labels == k).any() else None
            for k in range(len(classes))
        ]

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=0)
        undefined = np.full((2, weights.shape[1]), np.nan)
        areas = np.stack([curve(weights, total) if curve else undefined for curve in self._curves], axis=1)
        found: dict[str, Floats] = {}
        for name, values in zip(("auroc", "average_precision"), areas, strict=True):
            found |= {f"{name}/{label}": values[k] for k, label in enumerate(self._classes)}
            found[f"{name}_macro"] = np.nansum(values, axis=0) / (~np.isnan(values)).sum(axis=0)
        return found


class _Curve:
    """Both areas of one class, from sums between its positives.

    Sorted by falling score, the negatives matter only through their weight above each positive: the images
    are summed into one row a distinct positive score, instead of one an image.
    """

    def __init__(self, positive: npt.NDArray[np.bool_], scores: Floats, dtype: np.dtype[Any]) -> None:
        falling = np.unique(scores[positive])[::-1]
        at = np.searchsorted(-falling, -scores, side="left")  # the first positive score that is not above it
        count = len(falling)
        within = at < count
        level = within & (scores == falling[at.clip(max=count - 1)])
        self._positives = _sums(np.where(positive, at, -1), count, dtype)
        self._negatives = _sums(np.where(~positive & within, at, -1), count, dtype)
        tied = ~positive & level
        self._tied_rows = np.unique(at[tied])
        rows = np.where(tied, np.searchsorted(self._tied_rows, at), -1)
        self._tied = _sums(rows, len(self._tied_rows), dtype)

    def __call__(self, weights: Floats, total: Floats) -> Floats:
        """(2, B): AUROC and average precision, NaN where the class or the rest has no weight."""
        positives = self._positives @ weights
        hits = _running(positives.copy())
        false = _running(self._negatives @ weights)
        tied = self._tied @ weights
        have = hits[-1].copy()
        rest = total - have
        wins = have * rest - np.einsum("gb,gb->b", positives, false)
        wins += np.einsum("gb,gb->b", positives[self._tied_rows], tied) / 2
        false += hits
        np.maximum(false, np.finfo(false.dtype).tiny, out=false)  # no image of this resample is up here yet
        hits /= false
        precision = np.einsum("gb,gb->b", positives, hits)
        return np.stack([wins / (have * rest), precision / have])


def _count_names(classes: Sequence[str]) -> list[str]:
    return [*COUNT_METRICS, *(f"{name}/{label}" for name in CLASS_METRICS[:4] for label in classes)]


def _ranking_names(classes: Sequence[str]) -> list[str]:
    return [f"{name}{end}" for name in CLASS_METRICS[4:] for end in (*(f"/{c}" for c in classes), "_macro")]


_FAMILIES: dict[Callable[..., Any], Callable[[Sequence[str]], Sequence[str]]] = {
    _Counts: _count_names,
    _Scores: lambda classes: ("log_loss", "brier", "top2_accuracy"),
    _FixedBins: lambda classes: ("ece", "ece_classwise"),
    _AdaptiveBins: lambda classes: ("ece_adaptive",),
    _Ranking: _ranking_names,
}
