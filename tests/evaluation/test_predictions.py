import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from emotion.errors import DataError
from emotion.evaluation.metrics import compute
from emotion.evaluation.predictions import Meta, Predictions, from_arrays, read, write
from tests.evaluation.tables import simulated

CLASSES = ("anger", "fear", "neutral")
META = Meta(data="fer2013", part="test", run="fer2013-vgg-fx-0a1b2c3d", selected_on_this_part=True)
LABELS = [0, 2, 1]
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.4, 0.35, 0.25]])


def small() -> Predictions:
    return from_arrays(["a", "b", "c"], LABELS, PROBABILITIES, CLASSES, META, groups=["p", None, "p"], fold=2)


def raw(**columns: object) -> pl.DataFrame:
    """The small table's frame with other columns."""
    return small().frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def rewritten(path: Path, **metadata: object) -> Path:
    """The small table's file with other metadata."""
    write(path, small())
    content = json.loads(pl.read_parquet_metadata(path)["emotion"]) | metadata
    pl.read_parquet(path).write_parquet(path, metadata={"emotion": json.dumps(content)})
    return path


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "predictions" / "test.parquet", small())
    found = read(tmp_path / "predictions" / "test.parquet")
    assert found.frame.equals(small().frame)
    assert (found.classes, found.meta) == (CLASSES, META)
    assert found.ids == ["a", "b", "c"]
    assert found.groups == ["p", None, "p"]
    assert found.labels.tolist() == LABELS
    assert found.predicted.tolist() == [0, 2, 0]
    np.testing.assert_allclose(found.probabilities, PROBABILITIES, rtol=1e-6)
    np.testing.assert_allclose(found.confidence, [0.7, 0.8, 0.4], rtol=1e-6)
    assert found.labels.dtype == np.int64
    assert found.probabilities.dtype == np.float64


def test_the_file_has_the_columns_and_the_metadata_of_format_1(tmp_path: Path) -> None:
    write(tmp_path / "test.parquet", small())
    frame = pl.read_parquet(tmp_path / "test.parquet")
    assert dict(frame.schema) == {
        "id": pl.String,
        "group": pl.String,
        "label": pl.Int16,
        "fold": pl.Int16,
        **{f"p/{name}": pl.Float32 for name in CLASSES},
    }
    content = json.loads(pl.read_parquet_metadata(tmp_path / "test.parquet")["emotion"])
    content.pop("version", None)
    assert content == {
        "format": 1,
        "classes": list(CLASSES),
        "data": "fer2013",
        "part": "test",
        "run": "fer2013-vgg-fx-0a1b2c3d",
        "selected_on_this_part": True,
    }


def test_a_failed_write_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.parquet"
    write(path, small())
    before = path.read_bytes()

    def half(self: pl.DataFrame, file: Path, **_: object) -> None:
        Path(file).write_bytes(b"PAR1")
        raise OSError("no space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", half)
    with pytest.raises(OSError, match="no space"):
        write(path, simulated(20))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_rows_of_half_precision_are_scaled_to_sum_to_one() -> None:
    rough = from_arrays(["a"], [0], [[0.5004, 0.25, 0.25]], CLASSES, META)
    assert rough.probabilities.sum() == pytest.approx(1, abs=1e-15)


def test_other_probabilities_keep_the_images() -> None:
    changed = small().with_probabilities(np.full((3, 3), 1 / 3))
    assert changed.frame.drop(pl.selectors.starts_with("p/")).equals(
        small().frame.drop(pl.selectors.starts_with("p/"))
    )
    np.testing.assert_allclose(changed.probabilities, 1 / 3)


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (lambda: raw(id=["a", "b", "a"]), "each id once, found 1 .* 'a'"),
        (lambda: raw(id=["a", None, "c"]), "found 1 without one"),
        (lambda: raw(label=[0, 3, 1]), "labels from 0 to 2 .* such as 3 for the image 'b'"),
        (lambda: raw(label=[0, -1, 1]), "labels from 0 to 2 .* such as -1"),
        (lambda: raw(label=[0, None, 1]), "labels from 0 to 2"),
        (lambda: raw(label=[0.0, 2.0, 1.0]), "integer labels"),
        (lambda: raw(**{"p/fear": [0.2, np.nan, 0.35]}), "finite .* NaN .* 1 of 3 .* 'b'"),
        (lambda: raw(**{"p/fear": [0.2, 0.5, 0.35]}), "sum to 1 .* 1 of 3 .* 'b'"),
        (lambda: raw(**{"p/fear": [3.1, -2.0, 0.35]}), r"within \[0, 1\], .*logits"),
        (lambda: small().frame.drop("p/fear"), "missing: p/fear"),
        (lambda: small().frame.drop("group"), "missing: group"),
        (lambda: small().frame.rename({"p/fear": "p/contempt"}), "unknown: p/contempt"),
        (lambda: small().frame.clear(), "empty table"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(frame: object, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        Predictions(frame(), CLASSES, META)  # type: ignore[operator]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(N, 3\)"):
        from_arrays(["a"], [0], [[0.5, 0.5]], CLASSES, META)
    with pytest.raises(DataError, match="lengths .*'labels': 2"):
        from_arrays(["a"], [0, 1], [[0.5, 0.5, 0]], CLASSES, META)
    with pytest.raises(DataError, match="different names"):
        from_arrays(["a"], [0], [[0.5, 0.5]], ("fear", "fear"), META)
    with pytest.raises(DataError, match="'val' or 'test'"):
        Predictions(small().frame, CLASSES, Meta("d", "train", "r"))  # type: ignore[arg-type]


def test_reading_names_the_file_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "val.parquet"
    with pytest.raises(DataError, match=r"val\.parquet, found none.*start the run again"):
        read(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(DataError, match=r"val\.parquet: .*can't be read"):
        read(path)
    small().frame.write_parquet(path)
    with pytest.raises(DataError, match=r"val\.parquet: .*another parquet file"):
        read(path)
    write(path, small())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"val\.parquet: .*can't be read"):
        read(path)


def test_an_unknown_format_names_the_version_that_reads_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"format 1, found format 2\. It needs emotion 9\.1 or a later one"):
        read(rewritten(tmp_path / "a.parquet", format=2, version="9.1"))


def test_another_label_set_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", small())
    with pytest.raises(DataError, match="label set anger, neutral, found anger, fear, neutral"):
        read(tmp_path / "a.parquet", classes=("anger", "neutral"))
    assert read(tmp_path / "a.parquet", classes=CLASSES).classes == CLASSES
    with pytest.raises(DataError, match="missing: p/sadness"):
        read(rewritten(tmp_path / "b.parquet", classes=["anger", "sadness", "neutral"]))


def test_broken_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    small().frame.write_parquet(path, metadata={"emotion": '{"format": 1}'})
    with pytest.raises(DataError, match="'classes' in the table's metadata"):
        read(path)
    small().frame.write_parquet(path, metadata={"emotion": "{"})
    with pytest.raises(DataError, match="metadata in JSON"):
        read(path)


def test_importing_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'scipy', 'sklearn', 'pytorch_lightning', 'matplotlib'}"
    code = (
        "import sys, emotion.evaluation.predictions, emotion.evaluation.metrics, emotion.evaluation.intervals, "
        "emotion.evaluation.comparison, emotion.evaluation.calibration, emotion.evaluation.folds; "
        f"sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_compact_table_predicts_the_very_same(tmp_path: Path) -> None:
    """Rounded to half precision, the last class of the first image would be behind the first of its equals."""
    close = np.array([[0.33331, 0.33333, 0.33336], [0.5, 0.25, 0.25], [1e-9, 1e-9, 1 - 2e-9]])
    assert len(set(close[0].astype(np.float16))) == 1
    exact = from_arrays(["a", "b", "c"], [2, 0, 2], close, ("x", "y", "z"), Meta("drawn", "test", "run"))
    write(tmp_path / "t.parquet", exact, compact=True)
    types = pl.read_parquet(tmp_path / "t.parquet").schema
    assert types["p/x"] == pl.Float32
    assert types["predicted"] == pl.UInt8
    again = read(tmp_path / "t.parquet")
    assert again.predicted.tolist() == exact.predicted.tolist() == [2, 0, 2]
    np.testing.assert_allclose(again.probabilities, close, atol=3e-4)
    assert (again.meta, again.ids) == (exact.meta, exact.ids)


@given(
    arrays(np.float64, (5, 4), elements=st.floats(1e-6, 1)),
    arrays(np.float64, 5, elements=st.floats(-0.99e-3, 0.99e-3)),
)
@example(0.25 + 0.25 * np.tile([0.489e-3, 0.489e-3, 1.466e-3, 1.466e-3], (5, 1)), np.full(5, 0.977e-3))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_whatever_table_is_accepted_can_be_kept_and_read(
    tmp_path_factory: pytest.TempPathFactory, weights: np.ndarray, excess: np.ndarray
) -> None:
    """In the example all four are rounded up, from a sum of 1.00098, which is accepted, to one of 1.0015."""
    rows = weights / weights.sum(axis=1, keepdims=True) * (1 + excess[:, None])
    ids = [f"{row}" for row in range(5)]
    exact = from_arrays(ids, [0] * 5, rows, "abcd", Meta("drawn", "test", "run"))
    path = tmp_path_factory.mktemp("kept") / "t.parquet"
    write(path, exact, compact=True)
    again = read(path)
    assert again.predicted.tolist() == exact.predicted.tolist()
    np.testing.assert_allclose(again.probabilities, exact.probabilities, rtol=2**-10)


def test_a_compact_table_scores_the_same_however_sure_the_network_is(tmp_path: Path) -> None:
    """In half precision, the sure ones' other classes would all be 0: the sabotage."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 2000)
    sure = softmax(12 * (rng.normal(size=(2000, 4)) + np.eye(4)[labels]), axis=1)
    exact = from_arrays([f"{n}" for n in range(2000)], labels, sure, "abcd", Meta("drawn", "test", "run"))
    write(tmp_path / "t.parquet", exact, compact=True)
    halves = exact.with_probabilities(sure.astype(np.float16))
    wanted, kept, halved = (
        compute(t.labels, t.probabilities, t.classes) for t in (exact, read(tmp_path / "t.parquet"), halves)
    )
    for name in ("log_loss", "auroc_macro", "brier", "ece"):
        assert kept[name] == pytest.approx(wanted[name], abs=2e-4), name
    assert halved["log_loss"] != pytest.approx(wanted["log_loss"], abs=2e-2)


def test_a_table_of_half_precision_can_be_read(tmp_path: Path) -> None:
    """As earlier versions kept them."""
    exact = from_arrays(
        ["a", "b"], [1, 0], [[0.5, 0.5], [0.2, 0.8]], ("x", "y"), Meta("drawn", "test", "run")
    )
    write(tmp_path / "t.parquet", exact, compact=True)
    metadata = pl.read_parquet_metadata(tmp_path / "t.parquet")
    old = pl.read_parquet(tmp_path / "t.parquet").with_columns(pl.col("p/x", "p/y").cast(pl.Float16))
    old.write_parquet(tmp_path / "old.parquet", metadata={"emotion": metadata["emotion"]})
    again = read(tmp_path / "old.parquet")
    np.testing.assert_allclose(again.probabilities, [[0.5, 0.5], [0.2, 0.8]], atol=1e-3)
    assert again.predicted.tolist() == [0, 1]
