"""What `data.classes`, `data.exclude` and `data.group_by` do, up to the split and the identity of a run."""

import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emotion.data import duplicates
from emotion.data.dataset import open_store, split_store
from emotion.data.drawn import DrawnFaces
from emotion.data.images import ImageArray
from emotion.data.preparation import Preparation
from emotion.data.selection import excluded_ids, select
from emotion.data.splits import leaks, make_split
from emotion.data.store import Store, prepare
from emotion.data.table import SampleTable
from emotion.errors import ConfigError, DataError
from emotion.launch import compose
from emotion.schema.data import DrawnData, Fer2013Data
from emotion.training.identity import digest, essence


def drawn(tmp_path: Path, **keys: object) -> Store:
    config = compose(["data.count=140", "data.imbalance=0"])
    return open_store(DrawnData(count=140, imbalance=0, **keys), config.preprocess, tmp_path)


def test_without_wishes_the_store_is_itself(tmp_path: Path) -> None:
    store = drawn(tmp_path)
    assert type(store) is Store
    assert store.selection == {}


def test_picked_classes_keep_their_images_under_new_numbers(tmp_path: Path) -> None:
    whole, some = drawn(tmp_path), drawn(tmp_path, classes=["sad", "anger"])
    assert some.classes == ("sadness", "anger")
    names = np.array(whole.classes)[whole.labels]
    kept = np.isin(names, some.classes)
    assert some.frame["id"].to_list() == whole.frame["id"].filter(pl.Series(kept)).to_list()
    assert (np.array(some.classes)[some.labels] == names[kept]).all()
    assert (some.images[np.arange(len(some))] == whole.images[kept]).all()
    assert (np.asarray(some.images[3]) == whole.images[np.flatnonzero(kept)[3]]).all()
    assert some.rejected["reason"].value_counts().rows() == [("class not chosen", int((~kept).sum()))]
    assert some.fingerprint != whole.fingerprint


def test_merged_classes_hold_all_they_take(tmp_path: Path) -> None:
    whole = drawn(tmp_path, classes=8)
    merged = drawn(
        tmp_path, classes={"negative": ["anger", "disgust", "contempt"], "positive": ["happiness"]}
    )
    counts = dict(zip(*np.unique(np.array(whole.classes)[whole.labels], return_counts=True), strict=True))
    assert merged.classes == ("negative", "positive")
    assert np.bincount(merged.labels).tolist() == [
        counts["anger"] + counts["disgust"] + counts["contempt"],
        counts["happiness"],
    ]
    assert merged.selection["classes"]["taken"]["negative"] == ["disgust", "anger", "contempt"]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["happines", "anger"], "did you mean happiness"),
        (["anger"], "at least two"),
        ({"a": ["anger", "fear"], "b": ["fear"]}, "found fear again in 'b'"),
        ({"a": ["anger"], "b": []}, "'b' takes, found none"),
    ],
)
def test_classes_that_do_not_fit(tmp_path: Path, classes: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        drawn(tmp_path, classes=classes)


def test_a_selection_travels_to_other_processes(tmp_path: Path) -> None:
    some = drawn(tmp_path, classes=["sadness", "anger"])
    again = pickle.loads(pickle.dumps(some))
    assert again.fingerprint == some.fingerprint
    assert (again.images[[0, 5]] == some.images[[0, 5]]).all()
    assert len(pickle.dumps(some)) < 48 * 48 * 3 * len(some)  # no pixels in it
    mean, _ = some.statistics(np.arange(len(some)))
    assert mean == pytest.approx((np.asarray(some.images).mean(axis=(0, 1, 2)) / 255).tolist(), abs=1e-6)


def test_an_audit_s_rows_are_left_out_where_it_says_so(tmp_path: Path) -> None:
    ids = drawn(tmp_path).frame["id"].to_list()
    file = tmp_path / "audit.csv"
    file.write_text(
        f"id,exclude\n{ids[0]},true\n{ids[1]},false\n{ids[2]},True\n{ids[2]},false\nforeign,true\n"
    )
    left = drawn(tmp_path, exclude=file)
    assert set(ids) - set(left.frame["id"]) == {ids[0], ids[2]}
    assert left.selection["exclude"] == {"file": "audit.csv", "images": 2, "unknown_ids": 1}
    assert left.rejected["reason"].to_list() == ["excluded"] * 2


@pytest.mark.parametrize("marked", ["id\n", "id,exclude\n{},false\n", "id,exclude\nforeign,false\n"])
def test_a_file_that_marks_nothing_leaves_out_nothing(tmp_path: Path, marked: str) -> None:
    ids = drawn(tmp_path).frame["id"].to_list()
    file = tmp_path / "audit.csv"
    file.write_text(marked.format(ids[0]))
    left = drawn(tmp_path, exclude=file)
    assert left.frame["id"].to_list() == ids
    assert left.notes[-1] == "audit.csv leaves out 0 of 140 images."


def test_copies_are_left_out_with_their_original(tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"

    def leaky(*overrides: str) -> Store:
        config = compose(["data.count=140", "data.imbalance=3", "data.protocol=leaky", *overrides])
        return open_store(config.data, config.preprocess, tmp_path)

    ids = leaky().frame["id"].to_list()
    first, second = [name.removesuffix("#copy0002") for name in ids if name.endswith("#copy0002")][:2]
    file.write_text(f"id\n{first}\n{second}#copy0001\nforeign\n")
    left = leaky(f"data.exclude={file}")
    gone = [name for name in ids if name.partition("#")[0] == first]
    assert len(gone) >= 3
    assert sorted(set(ids) - set(left.frame["id"])) == sorted([*gone, f"{second}#copy0001"])
    assert left.selection["exclude"] == {"file": "audit.csv", "images": len(gone) + 1, "unknown_ids": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\na\n", "a column `id`"),
        ("id\nnobody\n", "none is there"),
        ("id,exclude\nx,perhaps\n", "expected true or false.*'perhaps'"),
    ],
)
def test_a_wrong_exclude_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "audit.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        drawn(tmp_path, exclude=file)
    with pytest.raises(DataError, match="can't be read"):
        excluded_ids(tmp_path / "nothing.csv")


def test_what_is_asked_for_is_part_of_the_identity(tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"

    def identity(*overrides: str) -> str:
        return digest(essence(compose(["data=fer2013", *overrides]), "0" * 32))

    file.write_text("id\na\n")
    first = identity(f"data.exclude={file}")
    (tmp_path / "moved").mkdir()
    moved = file.rename(tmp_path / "moved" / "other.csv")
    assert identity(f"data.exclude={moved}") == first  # the content stands for the path
    moved.write_text("id\nb\n")
    found = {
        first,
        identity(),
        identity(f"data.exclude={moved}"),
        identity("data.group_by=duplicate"),
        identity("data.classes=[happiness,anger]"),
        identity("data.classes={a:[happiness],b:[anger]}"),
    }
    assert len(found) == 6
    with pytest.raises(ConfigError, match="data.exclude"):
        identity("data.exclude=nowhere.csv")


def twins(tmp_path: Path, pairs: int = 30) -> Store:
    """120 drawn faces, of which `pairs` occur again a little brighter."""
    faces = DrawnFaces(count=120, persons=120, seed=3)
    images = np.stack([faces.read(row) for row in range(120)])
    copies = np.clip(images[:pairs] * 1.15 + 3, 0, 255).astype(np.uint8)
    every = np.concatenate([images, copies])
    frame = pl.DataFrame(
        {
            "id": [f"{row:03d}" for row in range(120)] + [f"{row:03d}-copy" for row in range(pairs)],
            "label": [row % 2 for row in range(120)] + [row % 2 for row in range(pairs)],
            "split": None,
            "group": None,
        },
        schema={"id": pl.String, "label": pl.Int64, "split": pl.String, "group": pl.String},
    )
    table = SampleTable("twins", ("neutral", "anger"), frame, ImageArray(every))
    return prepare(lambda: table, {"name": "twins", "pairs": pairs}, Preparation(48, 3), tmp_path)


def crossing(store: Store, frame: pl.DataFrame) -> int:
    """Pairs of which one trains and the other does not."""
    split = make_split(frame, fold=None, folds=4, val_fraction=0.2, test_fraction=0.2, seed=0)
    part = {i: name for name in ("train", "val", "test") for i in frame["id"].gather(split.part(name))}
    return sum(part[i] != part[i.removesuffix("-copy")] for i in part if i.endswith("-copy"))


def test_near_duplicates_stay_together_only_when_tied(tmp_path: Path) -> None:
    store = twins(tmp_path)
    tied = select(store, Fer2013Data(group_by="duplicate"))
    assert crossing(tied, tied.frame) == 0
    assert crossing(store, store.frame) > 5  # the sabotage: without the key they cross
    assert tied.frame["cluster"].drop_nulls().n_unique() == 30
    assert "30 clusters" in tied.notes[-1]


def test_a_planted_near_twin_is_a_leak_of_its_own_kind(tmp_path: Path) -> None:
    store = twins(tmp_path, pairs=1)
    tied = select(store, Fer2013Data(group_by="duplicate"))
    frame = tied.frame.with_columns(
        split=pl.when(pl.col("id") == "000")
        .then(pl.lit("test"))
        .otherwise(pl.when(pl.col("id") == "001").then(pl.lit("val")).otherwise(pl.lit("train")))
    )
    split = make_split(frame, fold=None, folds=4, val_fraction=0.2, test_fraction=0.2, seed=0)
    assert [(leak.kind, leak.parts, leak.ids) for leak in leaks(frame, split)] == [
        ("near duplicate", ("train", "test"), ("000",))
    ]
    assert split.manifest["leaked_test_ids"] == ["000"]


def test_found_once_and_kept_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = twins(tmp_path)
    with monkeypatch.context() as patched:  # a cache that can't be written costs the time alone
        patched.setattr("emotion.atomic.tempfile.mkstemp", _full)
        assert duplicates.of_store(store).near.height
    first = duplicates.of_store(store)
    monkeypatch.setattr(duplicates, "find", lambda *_: pytest.fail("computed again"))
    again = duplicates.of_store(store)
    assert again.near.equals(first.near)
    assert (again.clusters == first.clusters).all()


def test_a_large_cluster_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(duplicates, "LARGE_CLUSTER", 1)
    tied = select(twins(tmp_path), Fer2013Data(group_by="duplicate"))
    assert "The largest has 2 images" in caplog.text
    assert "The largest has 2 images" in tied.notes[-1]


def test_soft_labels_go_with_their_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soft = rng.dirichlet(np.ones(3), 20)
    frame = pl.DataFrame(
        {
            "id": [f"{row:02d}" for row in range(20)],
            "label": soft.argmax(axis=1),
            "split": None,
            "group": None,
        }
    ).cast({"label": pl.Int64, "split": pl.String, "group": pl.String})
    frame = frame.with_columns(target=pl.Series(soft.tolist(), dtype=pl.List(pl.Float32)))
    images = rng.integers(0, 256, (20, 12, 12), dtype=np.uint8)
    table = SampleTable("soft", ("anger", "fear", "happiness"), frame, ImageArray(images))
    store = prepare(lambda: table, {"name": "soft"}, Preparation(12, 1), tmp_path)
    some = select(store, Fer2013Data(classes=["happiness", "anger"]))
    kept = soft.argmax(axis=1) != 1
    expected = soft[kept][:, [2, 0]]
    np.testing.assert_allclose(some.targets, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    assert (some.targets.argmax(axis=1) == some.labels).all()
    merged = select(store, Fer2013Data(classes={"bad": ["anger", "fear"], "good": ["happiness"]}))
    np.testing.assert_allclose(merged.targets[:, 0], soft[:, :2].sum(axis=1), atol=1e-6)
    file = tmp_path / "out.csv"
    file.write_text("id\n03\n")
    left = select(store, Fer2013Data(exclude=file))
    np.testing.assert_allclose(left.targets, np.delete(soft, 3, axis=0), atol=1e-6)


def test_a_run_s_split_uses_the_selection(tmp_path: Path) -> None:
    config = compose(["data.count=140", "data.imbalance=0", "data.classes=[sadness,anger]"])
    store = open_store(config.data, config.preprocess, tmp_path)
    split = split_store(config, store)
    assert set(split.manifest["counts"]["train"]) == {"sadness", "anger"}
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(len(store)))


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")
