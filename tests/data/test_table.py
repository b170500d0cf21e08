"""The sample table refuses what would fail later, and says what is wrong."""

import pickle

import numpy as np
import polars as pl
import pytest

from emotion.data.images import ImageArray
from emotion.data.table import SampleTable, rejections
from emotion.errors import DataError

CLASSES = ("neutral", "happiness")
SOURCE = ImageArray(np.zeros((3, 4, 4), np.uint8))


def frame(**columns: object) -> pl.DataFrame:
    plain: dict[str, object] = {"id": ["a", "b", "c"], "label": [0, 1, 1], "split": None, "group": None}
    schema = {"id": pl.String, "label": pl.Int64, "split": pl.String, "group": pl.String}
    values = plain | columns
    return pl.DataFrame(values, schema_overrides={name: schema[name] for name in values if name in schema})


def test_a_sound_table_is_accepted_and_survives_pickling() -> None:
    table = SampleTable("x", CLASSES, frame(split=["train", "val", "test"], group=["p", None, "q"]), SOURCE)
    again = pickle.loads(pickle.dumps(table))
    assert len(again) == 3
    assert again.frame.equals(table.frame)
    assert np.array_equal(again.source.read(2), SOURCE.read(2))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (frame().drop("group"), "missing: group"),
        (frame().with_columns(label=pl.Series(["0", "1", "1"])), "label String, expected Int64"),
        (frame(id=["a", "b", "a"]), "found more than once"),
        (frame(id=["a", None, "c"]), "unique and not null"),
        (frame(label=[0, 1, 2]), r"labels must lie in 0…1; found 0…2"),
        (frame(label=[0, -1, 1]), r"found -1…1"),
        (frame(split=["train", None, "test"]), "for all samples or for none; 1 of 3"),
        (frame(split=["train", "valid", "test"]), "found valid"),
        (frame(x=[1.0, 1.0, 1.0]), "a face box needs"),
        (frame().clear(), "no samples"),
    ],
)
def test_a_table_that_would_fail_later_is_refused(bad: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SampleTable("x", CLASSES, bad, SOURCE)


def test_an_empty_table_says_why_its_rows_were_rejected() -> None:
    rejected = rejections([("a", "missing file", ""), ("b", "missing file", "")])
    with pytest.raises(DataError, match="2 rows rejected: missing file"):
        SampleTable("x", CLASSES, frame().clear(), SOURCE, rejected)


def test_class_names_may_not_repeat() -> None:
    with pytest.raises(DataError, match="once each"):
        SampleTable("x", ("neutral", "neutral"), frame(), SOURCE)
