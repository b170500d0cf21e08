"""Two systems of a run or several each, on the same images or over the same folds: by how much one is better."""

from collections.abc import Sequence

import numpy as np

from emotion.errors import DataError
from emotion.evaluation.comparison import aligned, corrected_t_test, paired_difference
from emotion.evaluation.metrics import value
from emotion.evaluation.predictions import Predictions
from emotion.evaluation.published import Gap, gap

RESAMPLES = 1000


def between(first: Sequence[Predictions], second: Sequence[Predictions], metric: str) -> Gap:
    """The first's metric minus the second's, with a 95 % interval.

    Folds are compared one by one, by Nadeau and Bengio's corrected t-test; the seeds of a fold are averaged first. Else
    each run is paired with the other's of the same place (a single one with all), and images are drawn for both of a
    pair at once. With several pairs the variance is the mean of the pairs' bootstrap variances, as if all pairs had
    erred on the same images, and that of their differences over their number.

    Raises:
        DataError: other numbers of runs, other images or other folds.
    """
    folds = [[table.frame["fold"][0] for table in tables] for tables in (first, second)]
    if folds[0][0] is not None and first[0].meta.part == "val":
        if None in folds[1] or sorted(folds[0]) != sorted(folds[1]):
            raise DataError(f"expected the same folds, found {folds[0]} and {folds[1]}.")
        ours, theirs = (_by_fold(tables) for tables in (first, second))
        for fold, tables in ours.items():
            aligned([*tables, *theirs[fold]])
        values = [
            [float(np.mean([value(table, metric) for table in tables])) for tables in found.values()]
            for found in (ours, theirs)
        ]
        found = corrected_t_test(*values, ratio=1 / max(len(ours) - 1, 1))
        return Gap(found.value, found.low, found.high)
    count = max(len(first), len(second))
    if {len(first), len(second)} - {1, count}:
        raise DataError(f"expected as many runs of both, found {len(first)} and {len(second)}.")
    one, other = (list(tables) * (count if len(tables) == 1 else 1) for tables in (first, second))
    pairs = [paired_difference(a, b, metric, resamples=RESAMPLES) for a, b in zip(one, other, strict=True)]
    if count == 1:
        return Gap(pairs[0].value, pairs[0].low, pairs[0].high)
    images = float(np.mean([pair.error**2 for pair in pairs]))
    each = np.array([pair.value for pair in pairs])
    training = float(each.var(ddof=1)) / count
    return gap(float(each.mean()), [(images, pairs[0].freedom), (training, count - 1)])


def _by_fold(tables: Sequence[Predictions]) -> dict[int, list[Predictions]]:
    """The tables of each fold, in the order of folds."""
    found: dict[int, list[Predictions]] = {}
    for table in sorted(tables, key=lambda table: int(table.frame["fold"][0])):
        found.setdefault(int(table.frame["fold"][0]), []).append(table)
    return found
