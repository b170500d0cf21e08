import pytest

from emotion.errors import DataError
from emotion.evaluation.folds import pool, scores, split
from emotion.evaluation.metrics import compute, confusion_matrix
from emotion.evaluation.predictions import Meta, Predictions
from tests.evaluation.tables import CLASSES, simulated

K = len(CLASSES)


def folds(count: int = 4, size: int = 60) -> list[Predictions]:
    """The validation tables of a sweep, each of its own images."""
    return [
        simulated(
            size + fold,
            seed=fold,
            part="val",
            run=f"run-f{fold}",
            fold=fold,
            ids=[f"f{fold}-{row}" for row in range(size + fold)],
        )
        for fold in range(count)
    ]


def test_the_pooled_table_has_each_image_once() -> None:
    tables = folds()
    found = pool(tables, run="sweep")
    assert len(found) == sum(len(table) for table in tables)
    assert found.meta == Meta("made up", "val", "sweep", False)
    for fold, table in split(found).items():
        assert table.frame.equals(tables[fold].frame.sort("id"))
    assert pool(tables[::-1], run="sweep").frame.equals(found.frame)


def test_the_pooled_confusion_is_the_sum_over_the_folds() -> None:
    tables = folds()
    found = pool(tables, run="sweep")
    single = [confusion_matrix(table.labels, table.predicted, K) for table in tables]
    assert (confusion_matrix(found.labels, found.predicted, K) == sum(single)).all()


def test_one_fold_selected_on_itself_marks_the_whole() -> None:
    tables = folds()
    tables[2] = tables[2].with_meta(selected_on_this_part=True)
    assert pool(tables, run="sweep").meta.selected_on_this_part


def test_a_metric_in_each_fold() -> None:
    tables = folds()
    single = [compute(table.labels, table.probabilities, CLASSES)["mcc"] for table in tables]
    assert scores(pool(tables, run="sweep"), "mcc") == pytest.approx(single)


def test_folds_that_do_not_belong_together_are_refused() -> None:
    tables = folds()
    with pytest.raises(DataError, match="found none"):
        pool([], run="sweep")
    with pytest.raises(DataError, match="each fold once, found fold 1 2 times"):
        pool([*tables, tables[1]], run="sweep")
    overlapping = Predictions(
        tables[1].frame.with_columns(id=tables[0].frame["id"].extend(tables[1].frame["id"][60:])),
        CLASSES,
        tables[1].meta,
    )
    with pytest.raises(DataError, match="in one fold's validation part, found 60 in several"):
        pool([folds()[0], overlapping], run="sweep")
    with pytest.raises(DataError, match="one data set and label set"):
        pool([tables[0], tables[1].with_meta(data="other")], run="sweep")
    test = tables[1].with_meta(part="test")
    with pytest.raises(DataError, match="found the test table of run-f1"):
        pool([tables[0], test], run="sweep")
    with pytest.raises(DataError, match=r"with the folds \[None\]"):
        pool([simulated(10, part="val")], run="sweep")
    with pytest.raises(DataError, match="found 10 of 10 without one"):
        split(simulated(10, part="val"))
