"""The folds of a cross-validation: together as one table, and one beside the other."""

from collections import Counter
from collections.abc import Sequence

import polars as pl

from emotion.errors import DataError
from emotion.evaluation.metrics import value
from emotion.evaluation.predictions import Meta, Predictions


def pool(tables: Sequence[Predictions], *, run: str) -> Predictions:
    """The out-of-fold predictions of a k-fold sweep as one table: each image once, by the run that didn't see it.

    The pooled confusion matrix, per-class figures and intervals are those of this table; it has k times the
    images of a fold, which is what rare classes need.

    Args:
        tables: the validation table of each fold.
        run: name of the whole.

    Raises:
        DataError: a table isn't of the validation part or has no fold, two are of the same fold, classes or
            data sets differ, or an image is in two folds.
    """
    if not tables:
        raise DataError("expected the validation table of each fold, found none.")
    numbers = [_fold(table) for table in tables]
    repeated = [fold for fold, times in Counter(numbers).items() if times > 1]
    if repeated:
        raise DataError(
            f"expected each fold once, found fold {repeated[0]} {numbers.count(repeated[0])} times. Pool one "
            "configuration at a time."
        )
    first = tables[0]
    for table in tables[1:]:
        if (table.classes, table.meta.data) != (first.classes, first.meta.data):
            raise DataError(
                f"expected folds of one data set and label set, found {first.meta.data} ({', '.join(first.classes)}) "
                f"in {first.meta.run} and {table.meta.data} ({', '.join(table.classes)}) in {table.meta.run}."
            )
    together = pl.concat([table.frame for table in tables]).sort("id")
    twice = together["id"].is_duplicated()
    if twice.any():
        raise DataError(
            f"expected each image in one fold's validation part, found {together['id'].filter(twice).n_unique()} in "
            f"several, such as {together['id'].filter(twice)[0]!r}. The folds are of different splits."
        )
    selected = any(table.meta.selected_on_this_part for table in tables)
    return Predictions(together, first.classes, Meta(first.meta.data, "val", run, selected))


def split(pooled: Predictions) -> dict[int, Predictions]:
    """The folds of a pooled table, by number.

    Raises:
        DataError: an image has no fold.
    """
    without = pooled.frame["fold"].null_count()
    if without:
        raise DataError(
            f"expected a fold for each image of {pooled.meta.run}, found {without} of {len(pooled)} without one. "
            "Only tables of runs with `fold=` set have folds."
        )
    return {
        int(fold): Predictions(pooled.frame.filter(pl.col("fold") == fold), pooled.classes, pooled.meta)
        for fold in pooled.frame["fold"].unique().sort()
    }


def scores(pooled: Predictions, metric: str) -> list[float]:
    """A metric in each fold, in the order of their numbers.

    Raises:
        DataError: an image has no fold, or the metric is unknown.
    """
    return [value(table, metric) for table in split(pooled).values()]


def _fold(table: Predictions) -> int:
    found = table.frame["fold"].unique().to_list()
    if table.meta.part != "val" or len(found) != 1 or found[0] is None:
        raise DataError(
            f"expected the validation table of one fold, found the {table.meta.part} table of {table.meta.run} with "
            f"the folds {found}. Pool runs that were started with `fold=0`, `fold=1` and so on."
        )
    return int(found[0])
