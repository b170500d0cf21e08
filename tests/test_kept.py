"""What of a run is kept in git."""

import json
from pathlib import Path

import pytest

from emotion import kept
from emotion.evaluation import predictions
from emotion.runs import RunFolder, TableName
from tests.reporting import fakes


def a_run(place: Path, **splits: object) -> RunFolder:
    run = fakes.make_run(place, leaks=40)
    file = run.file("splits.json")
    file.write_text(json.dumps({**run.splits, **splits}))
    return RunFolder(run.path)


@pytest.mark.parametrize(("needed", "other"), [("test", "val"), ("val", "test")])
def test_a_table_that_no_row_needs_is_left_out_where_all_are_too_large(
    tmp_path: Path, needed: TableName, other: TableName
) -> None:
    run = a_run(tmp_path / "run")
    whole = kept.size_of(kept.keep(run, tmp_path / "whole", "make", None, {needed}))
    fits = RunFolder(kept.keep(run, tmp_path / "fits", "make", whole, {needed}))
    assert fits.has("val")
    assert fits.has("test")
    less = RunFolder(kept.keep(run, tmp_path / "less", "make", whole - 1, {needed}))
    assert not less.has(other)
    tables = [predictions.read(one.predictions(needed)) for one in (run, less)]
    assert (tables[0].predicted == tables[1].predicted).all()
    for limit, parts in ((whole - 1, {"val", "test"}), (kept.size_of(less.path) - 1, {needed})):
        with pytest.raises(kept.TooLargeError, match="expected at most"):
            kept.keep(run, tmp_path / "none", "make", limit, parts)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("splits", "ids"), [({}, 40), ({"protocol": "leaky"}, 0)])
def test_leaks_are_counted_and_named_where_they_are_not_the_protocol(
    tmp_path: Path, splits: dict[str, object], ids: int
) -> None:
    found = RunFolder(kept.keep(a_run(tmp_path / "run", **splits), tmp_path / "kept", "make", None)).splits
    assert len(found["leaked_test_ids"]) == ids
    assert found.get("leaked_test_count", ids) == 40
    assert [(leak["count"], leak["ids"]) for leak in found["leaks"]] == [(40, [])]
