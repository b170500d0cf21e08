"""Published counts are compared by part and class; a difference is told, not fatal."""

import polars as pl

from emotion.data.facts import WHOLE, Facts, count_notes

FACTS = Facts(
    title="x",
    citation="x",
    licence="x",
    source="x",
    layouts=("x",),
    classes=("fear", "anger", "contempt"),
    counts={"": {"train": (2, 1, 1), "val": (1, 1, 1)}, "whole": {WHOLE: (3, 2, 2)}},
)


def frame(labels: list[int], splits: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({"label": labels, "split": splits}, schema={"label": pl.Int64, "split": pl.String})


COMPLETE = frame([1, 1, 0, 1, 0], ["train", "train", "train", "val", "val"])  # classes in another order


def test_a_complete_table_needs_no_note() -> None:
    assert count_notes(FACTS, "", COMPLETE, ("anger", "fear"), 0) == ()
    assert count_notes(FACTS, "whole", COMPLETE.with_columns(split=None), ("anger", "fear"), 0) == ()
    assert count_notes(FACTS, "", COMPLETE.with_columns(split=None), ("anger", "fear"), 0) == ()  # pooled
    assert count_notes(FACTS, "unknown form", COMPLETE[:1], ("anger", "fear"), 0) == ()


def test_the_largest_difference_is_named() -> None:
    (note,) = count_notes(FACTS, "", COMPLETE[2:], ("anger", "fear"), 2)
    assert note == (
        "not the published counts: 3 images found, 5 published (rows left out: 2); the largest difference is fear "
        "in train: 0 instead of 2."
    )


def test_labels_in_the_wrong_order_would_be_noticed() -> None:
    assert count_notes(FACTS, "", COMPLETE, ("fear", "anger"), 0)
