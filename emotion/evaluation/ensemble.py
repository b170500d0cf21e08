"""The average of several runs' probabilities, from their prediction tables."""

from collections.abc import Sequence

import numpy as np

from emotion.errors import DataError
from emotion.evaluation.comparison import aligned
from emotion.evaluation.predictions import Predictions, from_arrays


def average(tables: Sequence[Predictions], run: str) -> Predictions:
    """One table of the mean probabilities of the same images.

    Args:
        tables: of two or more runs.
        run: name of the whole.

    Raises:
        DataError: fewer than two tables, two tables of one run, or other images, labels or classes.
    """
    names = [table.meta.run for table in tables]
    if len(set(names)) < len(names):
        raise DataError(
            f"expected different runs, found {next(n for n in names if names.count(n) > 1)} twice: a run averaged with "
            "itself is the same run."
        )
    found = aligned(tables)
    first = found[0]
    folds = {fold for table in found for fold in table.frame["fold"].unique().to_list()}
    meta = first.with_meta(
        run=run, selected_on_this_part=any(table.meta.selected_on_this_part for table in found)
    ).meta
    return from_arrays(
        first.ids,
        first.labels,
        np.mean([table.probabilities for table in found], axis=0),
        first.classes,
        meta,
        groups=first.groups,
        fold=folds.pop() if len(folds) == 1 else None,
    )
