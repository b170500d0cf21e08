"""Which differences between runs are real.

Runs are compared on the very same images. Two accuracies are judged by McNemar's exact test; other metrics by a
paired bootstrap; folds by Nadeau and Bengio's corrected t-test. Of many pairs some differ by chance, so compared
pairs get Holm's correction.

Images in groups (a person) are drawn as groups, and the bootstrap of few groups errs twice: its variance is that of
the groups at hand, too small by the factor 1 − Σw², w being their shares of the images ((n − 1)/n for n equal ones;
the usual correction of a weighted variance), and it is taken for exactly known. So the error is corrected, and test
and interval are Student's with n − 1 degrees of freedom (Cameron and Miller 2015, Journal of Human Resources
50:317–372, section VI). In 1,000 simulated comparisons each of equal runs on 3, 5, 10 and 30 persons of 20 images
p ≤ 0.05 in 4, 5, 6 and 6 %, and in 6 % on 10 persons of whom one has half of the images; by the normal distribution
and without the correction it was 26, 14, 12, 7 and 16 % (tests/evaluation/test_comparison.py has fewer of them).

No run is called better where the interval of the difference contains 0, or where there are too few images, or groups,
for an interval (`intervals.FEW`), whatever the p-value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from emotion.errors import DataError
from emotion.evaluation import metrics
from emotion.evaluation.folds import scores
from emotion.evaluation.intervals import (
    FEW,
    RESAMPLES,
    Interval,
    Units,
    bootstrap,
    estimate,
    too_few,
    units_of,
)
from emotion.evaluation.metrics import LOWER_IS_BETTER, Evaluator
from emotion.evaluation.predictions import Predictions

COMPANIONS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss")
"""Metrics that the ranked table shows beside the one that is compared."""
_SHARES = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "f1_macro",
    "f1_weighted",
    "precision",
    "recall",
    "top2_accuracy",
    "ece",
    "ece_adaptive",
    "ece_classwise",
)
_EQUAL = 1e-12  # what rounding leaves of equal differences
_ROUNDING = 1e-6  # what the bootstrap's single precision leaves of equal metrics


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test: do two runs get equally many images right?

    Attributes:
        only_first: images that only the first run gets right.
        only_second: images that only the second one gets right.
        p_value: two-sided.
    """

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """The first run's metric minus the second's, from a paired bootstrap.

    Attributes:
        value: difference on the images themselves.
        low: lower end of the interval, by percentiles; of groups by Student's t. NaN if there is none, because the
            resamples don't vary and so few units can't exclude 0.
        high: upper end.
        error: standard error.
        p_value: two-sided, by the normal distribution; of groups by Student's t; by the sign test if the resamples
            don't vary.
        freedom: degrees of freedom of the error; infinite for images.
    """

    value: float
    low: float
    high: float
    error: float
    p_value: float
    freedom: float


@dataclass(frozen=True)
class FoldDifference:
    """The first configuration's metric minus the second's, over folds.

    Attributes:
        value: mean difference.
        low: lower end of the interval.
        high: upper end.
        p_value: two-sided, corrected for the folds' shared training images.
        folds: how many there are.
    """

    value: float
    low: float
    high: float
    p_value: float
    folds: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs ranked on the same images.

    Attributes:
        metric: what they are ranked by.
        ranking: one row a run, best first: rank, run, value, low, high, letters (runs that share a letter can't
            be told apart), and the columns of `COMPANIONS`.
        pairs: one row a pair, the better run first: first, second, difference (first minus second), low, high,
            p_value, p_holm, differs (by the corrected p-value and by an interval that can be trusted), test.
        groups: the largest sets of runs that can't be told apart, best first.
        detectable: difference that these images would show four times out of five; infinite if there is none, or
            if they are too few for any.
        intervals: of the metric, by run.
        sentence: the result in plain words.
        notes: what a reader has to know besides.
    """

    metric: str
    ranking: pl.DataFrame
    pairs: pl.DataFrame
    groups: tuple[tuple[str, ...], ...]
    detectable: float
    intervals: dict[str, Interval]
    sentence: str
    notes: tuple[str, ...]


def compare(
    tables: Sequence[Predictions],
    *,
    metric: str = "accuracy",
    names: Sequence[str] | None = None,
    level: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Rank runs on the same images, and say which can't be told apart.

    Args:
        tables: two or more tables of the same images.
        metric: what to rank by.
        names: how to call the runs; their folders' names if None.
        level: share of false alarms among all pairs that is put up with, after Holm's correction.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: fewer than two tables, different images, labels or classes, two runs of one name, or a metric
            that is unknown or undefined on these images.
    """
    called = _names(tables, names)
    tables = aligned(tables)
    units = _drawn(tables[0])
    values = [_value(table, metric) for table in tables]
    few = too_few(tables[0], metric)
    order = sorted(range(len(tables)), key=lambda run: values[run] * (1 if _lower(metric) else -1))
    tables, called = [tables[run] for run in order], [called[run] for run in order]
    values = [values[run] for run in order]

    differences = _differences(tables, metric, units, 1 - level, resamples, seed)
    exact = metric == "accuracy" and not units.grouped
    tests = {pair: mcnemar(tables[pair[0]], tables[pair[1]]) for pair in differences} if exact else {}
    pairs = _pairs(called, differences, tests, level, grouped=units.grouped, trusted=not few)
    differs = {pair for pair, different in zip(differences, pairs["differs"], strict=True) if different}
    sets = _indistinct(len(tables), differs)
    detectable = math.inf if few else _detectable(differences, tests, len(tables[0]), level)
    intervals = {
        name: estimate(table, [metric], confidence=1 - level, resamples=resamples, seed=seed)[metric]
        for name, table in zip(called, tables, strict=True)
    }
    return Comparison(
        metric=metric,
        ranking=_ranking(tables, intervals, sets),
        pairs=pairs,
        groups=tuple(tuple(called[run] for run in runs) for runs in sets if len(runs) > 1),
        detectable=detectable,
        intervals=intervals,
        sentence=_sentence(called, values, metric, pairs, differs, len(tables[0]), detectable, level, few),
        notes=_notes(tables, intervals),
    )


def aligned(tables: Sequence[Predictions]) -> list[Predictions]:
    """The tables with their rows in the order of the ids, after checking that they are of the same images.

    Raises:
        DataError: the classes, images, labels or groups differ.
    """
    if len(tables) < 2:
        raise DataError(f"expected at least two prediction tables to compare, found {len(tables)}.")
    first, *others = [Predictions(t.frame.sort("id"), t.classes, t.meta) for t in tables]
    for other in others:
        between = f"{first.meta.run} ({first.meta.part}) and {other.meta.run} ({other.meta.part})"
        if other.classes != first.classes:
            raise DataError(
                f"expected one label set, found two in {between}: {', '.join(first.classes)}; and "
                f"{', '.join(other.classes)}. Compare runs with the same labels in the same order."
            )
        if not other.frame["id"].equals(first.frame["id"]):
            only_first = len(set(first.ids) - set(other.ids))
            only_other = len(set(other.ids) - set(first.ids))
            raise DataError(
                f"expected the same images, found {only_first + only_other} ids that only one of {between} has "
                f"({only_first} of {len(first)} and {only_other} of {len(other)}). Compare the same part of the "
                "same split; folds have to be pooled first."
            )
        for column in ("label", "group"):
            unequal = int((first.frame[column].ne_missing(other.frame[column])).sum())
            if unequal:
                raise DataError(
                    f"expected the same {column}s, found {unequal} of {len(first)} images with another {column} in "
                    f"{between}. The data was prepared differently: evaluate both runs on the same data again."
                )
    return [first, *others]


def mcnemar(first: Predictions, second: Predictions) -> McNemar:
    """McNemar's exact test (1947) of two runs on the same images, which have to be independent of each other.

    Raises:
        DataError: as `aligned`.
    """
    first, second = aligned([first, second])
    one, other = (table.predicted == table.labels for table in (first, second))
    only_first, only_second = int((one & ~other).sum()), int((other & ~one).sum())
    return McNemar(only_first, only_second, _sign_test(only_first, only_second))


def paired_difference(
    first: Predictions,
    second: Predictions,
    metric: str = "accuracy",
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """The difference of a metric between two runs on the same images, drawn together, in groups if there are any.

    Raises:
        DataError: as `aligned`; or the metric is unknown, or undefined on these images.
    """
    tables = aligned([first, second])
    return _differences(tables, metric, _drawn(tables[0]), confidence, resamples, seed)[0, 1]


def corrected_t_test(
    first: Sequence[float], second: Sequence[float], *, ratio: float, confidence: float = 0.95
) -> FoldDifference:
    """Nadeau and Bengio's corrected resampled t-test (2003) of two configurations' values over the same folds.

    Folds share most of their training images, so their differences vary less than those of independent
    experiments: the variance is multiplied by 1/J + ratio instead of 1/J.

    Args:
        first: the metric in each of J folds.
        second: the other configuration's, in the same order of folds.
        ratio: images of the part that is scored to images trained on; 1 / (J − 1) for J-fold cross-validation.
        confidence: of the interval.

    Raises:
        DataError: fewer than two folds, unequal numbers of them, a value that isn't finite, or one and the same
            difference in all folds, from which no error can be told.
    """
    from scipy.special import stdtr, stdtrit

    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.shape != other.shape or one.ndim != 1 or len(one) < 2:
        raise DataError(
            f"expected values of the same two or more folds, found {one.size} and {other.size} values."
        )
    if not (np.isfinite(one) & np.isfinite(other)).all():
        raise DataError(
            f"expected a finite value in each fold, found {one.tolist()} and {other.tolist()}; a metric that a "
            "class is missing for can be compared on the pooled table."
        )
    difference = one - other
    folds, mean = len(difference), float(difference.mean())
    error = math.sqrt((1 / folds + ratio) * float(difference.var(ddof=1)))
    if mean and np.ptp(difference) < _EQUAL:
        raise DataError(f"expected differences that vary, found {mean:g} in each of {folds} folds.")
    reach = float(stdtrit(folds - 1, (1 + confidence) / 2)) * error
    p_value = 2 * float(stdtr(folds - 1, -abs(mean) / error)) if error else 1.0
    return FoldDifference(mean, mean - reach, mean + reach, p_value, folds)


def compare_folds(
    first: Predictions, second: Predictions, metric: str = "accuracy", *, folds: int, confidence: float = 0.95
) -> FoldDifference:
    """`corrected_t_test` of two pooled out-of-fold tables.

    Args:
        folds: of the whole cross-validation, all of which needn't be in the tables.

    Raises:
        DataError: as `aligned` and `corrected_t_test`; or the images aren't in the same folds.
    """
    one, other = aligned([first, second])
    here = one.frame["fold"]
    if here.null_count() or not here.equals(other.frame["fold"]):
        raise DataError(
            f"expected each image in the same fold of {one.meta.run} and {other.meta.run}, found images without a "
            "fold or in different ones. Pool the validation tables of two k-fold sweeps with one split seed."
        )
    values = [scores(table, metric) for table in (one, other)]
    return corrected_t_test(*values, ratio=1 / (folds - 1), confidence=confidence)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being many (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Raises:
        DataError: a value is NaN or outside [0, 1].
    """
    values = np.asarray(p_values, float)
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError(f"expected p-values from 0 to 1, found {values.tolist()}.")
    order = np.argsort(values, kind="stable")
    scaled = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(value) for value in corrected]


def minimum_detectable_difference(
    count: int, disagreement: float, *, power: float = 0.8, level: float = 0.05
) -> float:
    """The smallest true difference of two accuracies that McNemar's exact test finds with this power.

    Args:
        count: images of the test set.
        disagreement: share of the images that exactly one of the two runs gets right.
        power: wanted chance of finding the difference.
        level: of the test, two-sided.

    Returns:
        A difference of shares; infinite if not even a difference as large as the disagreement would be found.

    Raises:
        DataError: no image, or a disagreement outside [0, 1].
    """
    from scipy.stats import binom

    if count < 1 or not 0 <= disagreement <= 1:
        raise DataError(
            f"expected images and a disagreement from 0 to 1, found {count} images and {disagreement}."
        )
    if not disagreement:
        return math.inf
    low, high = (int(end) for end in binom.interval(1 - 1e-9, count, disagreement))
    differing = np.arange(low, high + 1)
    chances = binom.pmf(differing, count, disagreement)
    most = binom.ppf(
        level / 2, differing, 0.5
    )  # smaller counts than this one reject, and it may do so itself
    most -= binom.cdf(most, differing, 0.5) > level / 2

    def found(difference: float) -> float:
        share = (1 + difference / disagreement) / 2
        rejected = binom.cdf(most, differing, share) + binom.cdf(most, differing, 1 - share)
        return float((chances * rejected).sum())

    if found(disagreement) < power:
        return math.inf
    below, above = 0.0, disagreement
    for _ in range(40):
        middle = (below + above) / 2
        below, above = (middle, above) if found(middle) < power else (below, middle)
    return above


def is_share(metric: str) -> bool:
    """Whether a metric is read in percent, and its differences in percentage points."""
    return metric.partition("/")[0] in _SHARES


def _names(tables: Sequence[Predictions], names: Sequence[str] | None) -> list[str]:
    found = [table.meta.run for table in tables] if names is None else list(names)
    if len(found) != len(tables) or len(set(found)) < len(found):
        raise DataError(f"expected {len(tables)} different names for {len(tables)} runs, found {found}.")
    return found


def _lower(metric: str) -> bool:
    return metric in LOWER_IS_BETTER


def _value(table: Predictions, metric: str) -> float:
    value = metrics.value(table, metric)
    if math.isnan(value):
        raise DataError(
            f"expected a metric that is defined on these images, found {metric} undefined for {table.meta.run}: a "
            "class has no image here."
        )
    return value


def _drawn(table: Predictions) -> Units:
    """What a comparison draws: groups within their class only where each class has enough to tell its error."""
    units = units_of(table.labels, table.groups)
    if units.grouped and min(len(stratum) for stratum in units.strata) < FEW:
        return units_of(table.labels, table.groups, stratified=False)
    return units


def _corrected(units: Units) -> tuple[float, float]:
    """What groups multiply the bootstrap's error by, and its degrees of freedom; the worst stratum stands for all."""
    if not units.grouped:
        return 1.0, math.inf
    sizes = np.bincount(units.of_image)
    shares = [sizes[stratum] / sizes[stratum].sum() for stratum in units.strata]
    seen = min(1 - float((share**2).sum()) for share in shares)  # of the variance
    return seen**-0.5, units.count - len(units.strata)


def _differences(
    tables: Sequence[Predictions], metric: str, units: Units, confidence: float, resamples: int, seed: int
) -> dict[tuple[int, int], Difference]:
    """The difference of each pair, first minus second, all from the same resamples."""
    from scipy.special import stdtr, stdtrit

    if units.count < 2:
        raise DataError(
            f"expected at least two independent images or groups to compare runs on, found {units.count}."
        )
    values = [_value(table, metric) for table in tables]
    evaluators = [Evaluator(t.labels, t.probabilities, t.classes, [metric], np.float32) for t in tables]
    draws = [found[metric] for found in bootstrap(evaluators, units, resamples=resamples, seed=seed)]
    factor, freedom = _corrected(units)
    found = {}
    for one, other in combinations(range(len(tables)), 2):
        drawn = draws[one] - draws[other]
        drawn = drawn[~np.isnan(drawn)]
        value = values[one] - values[other]
        if np.ptp(drawn) < _ROUNDING:
            found[one, other] = _unvaried(value, units.count, confidence, freedom)
            continue
        error = factor * float(drawn.std(ddof=1))
        p_value = 2 * float(stdtr(freedom, -abs(value) / error))
        if units.grouped:
            reach = float(stdtrit(freedom, (1 + confidence) / 2)) * error
            low, high = value - reach, value + reach
        else:
            low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
        found[one, other] = Difference(value, low, high, error, p_value, freedom)
    return found


def _unvaried(value: float, count: int, confidence: float, freedom: float) -> Difference:
    """A difference on which all units agree, by the sign test of so many equal signs."""
    if abs(value) < _ROUNDING:
        return Difference(value, min(value, 0.0), max(value, 0.0), 0.0, 1.0, freedom)
    p_value = min(1.0, 2.0 ** (1 - count))
    end = value if p_value <= 1 - confidence else math.nan
    return Difference(value, end, end, 0.0, p_value, freedom)


def _pairs(
    called: Sequence[str],
    differences: dict[tuple[int, int], Difference],
    tests: dict[tuple[int, int], McNemar],
    level: float,
    *,
    grouped: bool,
    trusted: bool,
) -> pl.DataFrame:
    """The table of all pairs, judged by McNemar's test where there is one."""
    bootstrapped = "paired bootstrap of groups, Student's t" if grouped else "paired bootstrap"
    p_values = [tests[pair].p_value if tests else found.p_value for pair, found in differences.items()]
    return pl.DataFrame(
        [
            {
                "first": called[one],
                "second": called[other],
                "difference": found.value,
                "low": found.low,
                "high": found.high,
                "p_value": p_value,
                "p_holm": corrected,
                "differs": trusted and corrected <= level and (found.low > 0 or found.high < 0),
                "test": "McNemar, exact" if tests else bootstrapped,
            }
            for ((one, other), found), p_value, corrected in zip(
                differences.items(), p_values, holm(p_values), strict=True
            )
        ]
    )


def _detectable(
    differences: dict[tuple[int, int], Difference],
    tests: dict[tuple[int, int], McNemar],
    count: int,
    level: float,
) -> float:
    """The difference that a typical pair of these runs would show four times out of five."""
    if tests:
        apart = np.median([(test.only_first + test.only_second) / count for test in tests.values()])
        return minimum_detectable_difference(count, float(apart), level=level)
    from scipy.special import stdtrit

    error = float(np.median([found.error for found in differences.values()]))
    if not error:  # resamples that all give the same difference tell nothing about how precise it is
        return math.inf
    freedom = next(iter(differences.values())).freedom
    return float(stdtrit(freedom, 1 - level / 2) + stdtrit(freedom, 0.8)) * error


def _sign_test(one: int, other: int) -> float:
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(one, other), one + other, 0.5)))


def _indistinct(count: int, differs: set[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The largest sets of runs of which no two differ, by insertion and absorption (Piepho 2004)."""
    sets = [frozenset(range(count))]
    for one, other in sorted(differs):
        split = []
        for runs in sets:
            split += [runs - {one}, runs - {other}] if one in runs and other in runs else [runs]
        unique = list(dict.fromkeys(split))
        sets = [runs for runs in unique if not any(runs < larger for larger in unique)]
    return sorted(tuple(sorted(runs)) for runs in sets)


def _ranking(
    tables: Sequence[Predictions], intervals: dict[str, Interval], sets: Sequence[tuple[int, ...]]
) -> pl.DataFrame:
    values = [interval.value for interval in intervals.values()]
    rows = []
    for run, (name, table) in enumerate(zip(intervals, tables, strict=True)):
        evaluate = Evaluator(table.labels, table.probabilities, table.classes, COMPANIONS)
        companions = evaluate(np.ones((len(table), 1)))
        rows.append(
            {
                "rank": 1 + sum(value != values[run] for value in values[:run]),
                "run": name,
                "value": values[run],
                "low": intervals[name].low,
                "high": intervals[name].high,
                "letters": " ".join(_letter(place) for place, runs in enumerate(sets) if run in runs),
                **{companion: float(value[0]) for companion, value in companions.items()},
            }
        )
    return pl.DataFrame(rows)


def _letter(place: int) -> str:
    letters = ""
    while True:
        letters = chr(ord("a") + place % 26) + letters
        place = place // 26 - 1
        if place < 0:
            return letters


def _notes(tables: Sequence[Predictions], intervals: dict[str, Interval]) -> tuple[str, ...]:
    notes = dict.fromkeys(found.note for found in intervals.values() if not found.reliable and found.note)
    called = list(intervals)
    selected = [name for name, table in zip(called, tables, strict=True) if table.meta.selected_on_this_part]
    if selected:
        who = "All runs" if len(selected) == len(tables) else _enumerated(selected)
        notes[f"{who} chose the best epoch on these very images, so these numbers are optimistic."] = None
    return tuple(notes)


def _sentence(
    called: Sequence[str],
    values: Sequence[float],
    metric: str,
    pairs: pl.DataFrame,
    differs: set[tuple[int, int]],
    count: int,
    detectable: float,
    level: float,
    few: str,
) -> str:
    images = f"these {count:,} images"
    seen = (
        f"nothing can be concluded, because {few}"
        if few
        else "no difference is likely to be seen on so few"
        if math.isinf(detectable)
        else f"a true difference under {_gap(detectable, metric)} would often stay unseen"
    )
    if len(called) == 2:
        pair = pairs.row(0, named=True)
        ends = " to ".join(_gap(pair[end], metric, unit=False) for end in ("low", "high"))
        interval = "no interval" if math.isnan(pair["low"]) else f"{100 * (1 - level):g} % interval {ends}"
        shown = (
            f"{metric} {_said(values[0], metric)} against {_said(values[1], metric)}, a difference of "
            f"{_gap(pair['difference'], metric)} ({interval}; {pair['test']}, p {_probability(pair['p_value'])})"
        )
        if differs:
            return f"{called[0]} is better than {called[1]} on {images}: {shown}."
        return f"{called[0]} and {called[1]} can't be told apart on {images}: {shown}; {seen}."
    if not differs:
        return f"None of the {len(called)} runs can be told from another by {metric} on {images}; {seen}."
    equal = [name for run, name in enumerate(called) if run and (0, run) not in differs]
    lead = f"{called[0]} has the best {metric} ({_said(values[0], metric)})"
    rest = len(called) - 1 - len(equal)
    if not equal:
        return f"{lead} and is better than each of the other {rest} runs on {images}."
    worse = f"{rest} {'is' if rest == 1 else 'are'} worse" if rest else "none is worse"
    return (
        f"{lead}, but {_enumerated(equal)} can't be told from it on {images}; {worse} than it. "
        f"{seen[0].upper()}{seen[1:]}."
    )


def _enumerated(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _said(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if is_share(metric) else f"{value:.3f}"


def _gap(value: float, metric: str, *, unit: bool = True) -> str:
    if not is_share(metric):
        return f"{value:.3f}".replace("-", "−")
    return f"{100 * value:.1f}".replace("-", "−") + (" points" if unit else "")


def _probability(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
