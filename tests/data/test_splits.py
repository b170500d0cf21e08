"""Splits: what must never be on both sides, and that the checks would notice if it were."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx
import numpy as np
import polars as pl
import pytest

from emotion.data import splits
from emotion.data.readers import fer2013
from emotion.data.splits import Split, clusters, leaks, make_split
from emotion.errors import DataError
from emotion.reporting import data_card
from emotion.reporting.page import Beside, Facts

MakeFrame = Callable[..., pl.DataFrame]
PARTS = ("train", "val", "test")
NAMES = ("neutral", "happiness", "sadness", "surprise")


def split_of(frame: pl.DataFrame, **changes: Any) -> Split:
    arguments: dict[str, Any] = {
        "fold": None,
        "folds": 4,
        "val_fraction": 0.1,
        "test_fraction": 0.2,
        "seed": 0,
        "classes": NAMES,
    }
    return make_split(frame, **(arguments | changes))


def mixed(make_frame: MakeFrame, n: int = 600, official: tuple[str, ...] = (), seed: int = 0) -> pl.DataFrame:
    """Persons with several expressions, some twins, some samples without a person."""
    rng = np.random.default_rng(seed)
    groups = [f"p{g}" if g < 80 else None for g in rng.integers(0, 100, n)]
    digests = [
        f"{d:016x}" for d in np.where(rng.random(n) < 0.1, rng.integers(0, 30, n), np.arange(100, n + 100))
    ]
    # As in published sets: each part is drawn whatever twins there are.
    given = rng.choice(official, n).tolist() if official else None
    return make_frame(rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05]).tolist(), groups, digests, given)


def ids(frame: pl.DataFrame, rows: np.ndarray) -> set[str]:
    return set(frame["id"].gather(rows))


def violations(frame: pl.DataFrame, split: Split, between: list[tuple[str, str]]) -> list[str]:
    """Everything that two parts share, looked for without the code under test."""
    found = []
    for first, second in between:
        for column in ("id", "group", "digest"):
            sides = [
                {v for v in frame[column].gather(split.part(p)) if v is not None} for p in (first, second)
            ]
            if sides[0] & sides[1]:
                found.append(f"{column} in {first} and {second}")
    return found


ALL_PAIRS = [("train", "val"), ("train", "test"), ("val", "test")]


def incomplete(frame: pl.DataFrame, folds: list[Split]) -> list[str]:
    """What is wrong with a set of folds: samples that validate never or twice, or a test part that changes."""
    found = []
    times = np.zeros(frame.height, int)
    for split in folds:
        times[split.val] += 1
        covered = np.concatenate([split.train, split.val, split.test])
        if sorted(covered) != list(range(frame.height)):
            found.append("a fold loses or repeats a sample")
        if not np.array_equal(split.test, folds[0].test):
            found.append("the test part depends on the fold")
    pool = np.setdiff1d(np.arange(frame.height), folds[0].test)
    if set(times[pool]) != {1} or times[folds[0].test].any():
        found.append("a pool sample validates not exactly once")
    return found


# The contract


@pytest.mark.parametrize("fold", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_parts_of_our_making_share_nothing_and_lose_nothing(
    make_frame: MakeFrame, fold: int | None, seed: int
) -> None:
    frame = mixed(make_frame, seed=seed)
    split = split_of(frame, fold=fold, seed=seed)
    assert violations(frame, split, ALL_PAIRS) == []
    assert leaks(frame, split) == []
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(frame.height))
    for part in PARTS:
        rows = split.part(part)
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("official", [(), ("train", "val", "test"), ("train", "test"), ("train", "val")])
def test_every_pool_sample_validates_once_and_the_test_part_stays(
    make_frame: MakeFrame, official: tuple[str, ...]
) -> None:
    frame = mixed(make_frame, official=official)
    folds = [split_of(frame, fold=fold) for fold in range(4)]
    assert incomplete(frame, folds) == []
    for split in folds:
        assert violations(frame, split, [("train", "val")]) == []
    if "test" in official:
        assert ids(frame, folds[0].test) == set(frame.filter(split="test")["id"])
    else:
        assert all(violations(frame, split, ALL_PAIRS) == [] for split in folds)
        assert np.array_equal(split_of(frame).test, folds[0].test)
        assert np.array_equal(split_of(frame, fold=0, folds=7).test, folds[0].test)


def test_a_whole_official_split_stays_as_it_is_and_its_leak_is_measured(make_frame: MakeFrame) -> None:
    frame = mixed(make_frame, official=PARTS)
    split = split_of(frame)
    assert split.manifest["strategy"] == "official"
    assert split.manifest["made"] == []
    for part in PARTS:
        assert ids(frame, split.part(part)) == set(frame.filter(split=part)["id"])
    measured = {(leak["kind"], *leak["parts"]): set(leak["ids"]) for leak in split.manifest["leaks"]}
    for kind, column in (("duplicate", "digest"), ("group", "group")):
        for first, second in ALL_PAIRS:
            seen = {v for v in frame[column].gather(split.part(first)) if v is not None}
            rows = frame[split.part(second)]
            expected = {i for i, v in rows.select("id", column).iter_rows() if v in seen}
            assert measured[kind, first, second] == expected
    tests = set().union(*(found for key, found in measured.items() if key[2] == "test"))
    assert set(split.manifest["leaked_test_ids"]) == tests
    assert split.manifest["warnings"] == [
        f"{len(tests)} of {len(split.test)} test images share a person, a source or their pixels with what is learnt "
        "from or selected by."
    ]


def test_a_validation_part_that_is_missing_is_taken_from_train_only(make_frame: MakeFrame) -> None:
    frame = mixed(make_frame, official=("train", "test"))
    split = split_of(frame, val_fraction=0.2)
    assert split.manifest["made"] == ["val"]
    assert ids(frame, split.test) == set(frame.filter(split="test")["id"])
    assert len(split.val) == pytest.approx(0.2 * frame.filter(split="train").height, abs=3)
    assert violations(frame, split, [("train", "val")]) == []


def test_a_test_part_that_is_missing_is_taken_from_train_and_clean_of_both_others(
    make_frame: MakeFrame,
) -> None:
    frame = mixed(make_frame, 2000, official=("train", "train", "train", "val"))
    frame = frame.with_columns(group=pl.lit(None, dtype=pl.String))
    split = split_of(frame)
    assert split.manifest["made"] == ["test"]
    assert ids(frame, split.val) == set(frame.filter(split="val")["id"])
    assert violations(frame, split, [("train", "test"), ("val", "test")]) == []
    assert len(split.test) == pytest.approx(0.2 * frame.filter(split="train").height, abs=3)


@pytest.mark.parametrize("official", [(), ("train", "val", "test"), ("train", "test"), ("train", "val")])
@pytest.mark.parametrize("fold", [None, 2])
def test_the_order_of_the_rows_does_not_matter(
    make_frame: MakeFrame, official: tuple[str, ...], fold: int | None
) -> None:
    frame = mixed(make_frame, official=official)
    turned = frame.sample(fraction=1, shuffle=True, seed=5)
    one, two = split_of(frame, fold=fold), split_of(turned, fold=fold)
    for part in PARTS:
        assert ids(frame, one.part(part)) == ids(turned, two.part(part))
    assert one.manifest == two.manifest


def test_stratification_is_within_one_sample_where_groups_allow(make_frame: MakeFrame) -> None:
    labels = np.random.default_rng(0).choice(4, 1003, p=[0.6, 0.3, 0.08, 0.02])
    frame = make_frame(labels.tolist())
    sizes = np.bincount(labels)
    split = split_of(frame)
    test = np.array([split.manifest["counts"]["test"][name] for name in NAMES])
    val = np.array([split.manifest["counts"]["val"][name] for name in NAMES])
    assert np.abs(test - 0.2 * sizes).max() < 1
    assert np.abs(val - 0.1 * (sizes - test)).max() < 1
    folds = np.array([np.bincount(labels[split_of(frame, fold=k).val], minlength=4) for k in range(4)])
    assert (folds.max(axis=0) - folds.min(axis=0)).max() <= 1


def test_the_seed_and_only_the_seed_chooses(make_frame: MakeFrame) -> None:
    frame = mixed(make_frame)
    assert split_of(frame).manifest["hash"] == split_of(frame).manifest["hash"]
    hashes = [split_of(frame, seed=seed).manifest["hash"]["test"] for seed in range(4)]
    assert len(set(hashes)) == 4


def test_the_manifest_is_plain_and_counts_right(make_frame: MakeFrame) -> None:
    frame = mixed(make_frame)
    split = split_of(frame, fold=1)
    manifest = json.loads(json.dumps(split.manifest))
    assert manifest == split.manifest
    assert (manifest["format"], manifest["strategy"], manifest["fold"], manifest["folds"]) == (
        1,
        "kfold",
        1,
        4,
    )
    for part in PARTS:
        labels = frame["label"].gather(split.part(part)).to_list()
        assert manifest["counts"][part] == {name: labels.count(label) for label, name in enumerate(NAMES)}


def test_the_hash_names_the_ids_of_each_part(make_frame: MakeFrame) -> None:
    frame = make_frame([0, 1] * 30)
    one = split_of(frame)
    renamed = frame.with_columns(id=pl.col("id").str.replace("s000007", "x000007"))
    part = next(p for p in PARTS if 7 in one.part(p))
    two = split_of(renamed)
    assert one.manifest["hash"] != two.manifest["hash"]
    assert split_of(frame).manifest["hash"][part] == one.manifest["hash"][part]


def test_a_split_that_is_not_the_published_one_is_not_called_official(make_frame: MakeFrame) -> None:
    frame = mixed(make_frame, official=PARTS)
    assert split_of(frame, official=False).manifest["strategy"] == "given"
    assert split_of(mixed(make_frame), official=False).manifest["strategy"] == "holdout"


def test_a_split_whose_test_part_is_ours_is_a_hold_out(make_frame: MakeFrame) -> None:
    assert split_of(mixed(make_frame, official=("train", "val"))).manifest["strategy"] == "holdout"
    split = split_of(mixed(make_frame, official=("train", "test")))
    assert split.manifest["strategy"] == "official"
    subject: Any = SimpleNamespace(splits=split.manifest, data="x", shown=None)
    beside = next(
        block for block in data_card.data(subject, scored=False).blocks if isinstance(block, Beside)
    )
    facts = next(block for block in beside.blocks if isinstance(block, Facts))
    assert dict(facts.facts)["Split"] == "as published, but validation, which is taken from training"


def test_a_leaky_split_parts_near_duplicates_too(make_frame: MakeFrame) -> None:
    frame = make_frame([0, 1, 1, 0] * 50)
    near = frame.with_columns(cluster=pl.Series([f"c{n // 4}" for n in range(200)]))
    leaky = split_of(near, leaky=True)
    assert leaky.manifest["hash"] == split_of(frame, leaky=True).manifest["hash"]
    assert len(leaky.manifest["leaked_test_ids"]) > len(leaky.test) / 2
    assert split_of(near).manifest["leaked_test_ids"] == []


def test_clusters_are_the_connected_components_of_persons_and_twins(make_frame: MakeFrame) -> None:
    frame = mixed(make_frame, 300)
    graph = networkx.Graph()
    for sample, group, digest in frame.select("id", "group", "digest").iter_rows():
        graph.add_edge(("id", sample), ("digest", digest))
        if group is not None:
            graph.add_edge(("id", sample), ("group", group))
    expected = {frozenset(n for k, n in part if k == "id") for part in networkx.connected_components(graph)}
    found = frame.with_columns(cluster=pl.Series(clusters(frame))).group_by("cluster").agg("id")["id"]
    assert {frozenset(members) for members in found} == expected


# What must be refused


@pytest.mark.parametrize("fold", [4, -1])
def test_a_fold_that_does_not_exist_is_refused(make_frame: MakeFrame, fold: int) -> None:
    with pytest.raises(DataError, match=rf"expected fold 0 to 3 \(folds=4\), found {fold}"):
        split_of(mixed(make_frame), fold=fold)


def test_fewer_samples_in_a_class_than_folds_is_an_error_that_names_it(make_frame: MakeFrame) -> None:
    frame = make_frame([0] * 50 + [1] * 50 + [2] * 3)
    with pytest.raises(DataError, match=r"folds=4; found sadness has \d samples in \d groups"):
        split_of(frame, fold=0)


def test_fewer_groups_in_a_class_than_folds_is_an_error_that_names_it(make_frame: MakeFrame) -> None:
    groups = [f"p{n}" for n in range(100)] + ["q", "q", "r", "r", "s", "s", "s"]
    frame = make_frame(
        [0] * 50 + [1] * 50 + [3] * 7, groups, splits=["train"] * 90 + ["test"] * 10 + ["train"] * 7
    )
    with pytest.raises(DataError, match=r"found surprise has 7 samples in 3 groups. Use fewer folds"):
        split_of(frame, fold=0)
    split_of(frame, fold=0, folds=3)


def test_a_class_that_a_hold_out_lacks_is_a_warning(
    make_frame: MakeFrame, caplog: pytest.LogCaptureFixture
) -> None:
    frame = make_frame([0] * 100 + [2] * 3)
    with caplog.at_level(logging.WARNING):
        split = split_of(frame)
    assert "the val part has no sadness." in split.manifest["warnings"]
    assert "the val part has no sadness." in caplog.text


def test_a_blank_image_that_chains_many_persons_is_a_warning(make_frame: MakeFrame) -> None:
    persons = [f"p{n // 2}" for n in range(200)]
    blank = [f"{n if n % 2 or n > 60 else 0:016x}" for n in range(200)]
    split = split_of(make_frame([0, 1, 1, 0] * 50, persons, blank))
    assert [w for w in split.manifest["warnings"] if w.startswith("62 of 200 samples belong together")]
    assert not split_of(make_frame([0, 1, 1, 0] * 50, persons)).manifest["warnings"]


def test_parts_that_would_be_empty_are_an_error(make_frame: MakeFrame) -> None:
    with pytest.raises(DataError, match=r"the \w+ part is empty: 3 samples, of which 1 belong together"):
        split_of(make_frame([0, 0, 0]))
    one_person = make_frame([0, 1] * 20, ["p"] * 40)
    with pytest.raises(DataError, match="part is empty"):
        split_of(one_person)


# Sabotage: the same checks that pass above must notice


def replaced(split: Split, **parts: np.ndarray) -> Split:
    return replace(split, **parts)


def test_a_shared_id_is_noticed(make_frame: MakeFrame) -> None:
    frame = make_frame([0, 1] * 60)
    split = split_of(frame)
    bad = replaced(split, val=np.append(split.val, split.train[0]))
    assert [(leak.kind, leak.parts, leak.ids) for leak in leaks(frame, bad)] == [
        (kind, ("train", "val"), (frame["id"][int(split.train[0])],)) for kind in ("id", "duplicate")
    ]
    assert violations(frame, bad, ALL_PAIRS)


@pytest.mark.parametrize(("column", "kind"), [("group", "group"), ("digest", "duplicate")])
def test_a_planted_person_or_twin_across_parts_is_noticed(
    make_frame: MakeFrame, column: str, kind: str
) -> None:
    frame = make_frame([0, 1] * 60)
    split = split_of(frame)
    values = frame[column].to_list()
    values[split.train[3]] = values[split.test[5]] = "planted"
    planted = frame.with_columns(pl.Series(column, values, dtype=pl.String))
    assert [(leak.kind, leak.parts, leak.ids) for leak in leaks(planted, split)] == [
        (kind, ("train", "test"), (frame["id"][int(split.test[5])],))
    ]
    assert violations(planted, split, ALL_PAIRS)


@pytest.mark.parametrize("fold", [None, 0])
@pytest.mark.parametrize("column", ["group", "digest"])
def test_a_split_of_ours_that_separates_a_cluster_fails_the_run(
    make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch, column: str, fold: int | None
) -> None:
    values = (
        {"groups": [f"p{n // 2}" for n in range(200)]}
        if column == "group"
        else {"digests": [f"{n // 2:016x}" for n in range(200)]}
    )
    frame = make_frame([0, 1, 1, 0] * 50, **values)
    split_of(frame, fold=fold)
    monkeypatch.setattr(splits, "clusters", lambda table: np.arange(table.height))
    with pytest.raises(DataError, match=r"the split is not sound: \d+ samples of \w+ share their"):
        split_of(frame, fold=fold)


def test_a_fold_that_loses_a_sample_or_shows_it_twice_is_noticed(make_frame: MakeFrame) -> None:
    frame = mixed(make_frame)
    folds = [split_of(frame, fold=fold) for fold in range(4)]
    assert incomplete(frame, folds) == []
    lost = [replaced(folds[0], val=folds[0].val[1:]), *folds[1:]]
    assert incomplete(frame, lost) == [
        "a fold loses or repeats a sample",
        "a pool sample validates not exactly once",
    ]
    twice = [replaced(folds[0], val=folds[1].val, train=np.union1d(folds[0].train, folds[0].val)), *folds[1:]]
    assert "a pool sample validates not exactly once" in incomplete(frame, twice)
    moved = [
        replaced(folds[0], test=folds[0].test[1:], train=np.append(folds[0].train, folds[0].test[0])),
        *folds[1:],
    ]
    assert "the test part depends on the fold" in incomplete(frame, moved)


@pytest.mark.parametrize("changes", [{}, {"per_class": 10}, {"leaky": True}])
def test_an_extra_near_twin_of_a_judged_image_trains_nobody(
    make_frame: MakeFrame, changes: dict[str, Any]
) -> None:
    """In a published test part, too, and where most images have no near duplicate."""
    frame = make_frame([0, 1] * 40, splits=["train"] * 60 + ["test"] * 20)
    extra = make_frame([0, 1, 0]).with_columns(id="extra/" + pl.col("id"), split=pl.lit("extra"))
    extra = extra.with_columns(digest="extra/" + pl.col("digest"))
    nobody = pl.Series("cluster", [None] * 80, dtype=pl.String)
    clusters = [*nobody.scatter(75, "twin"), "twin", "others", None]
    both = pl.concat([frame, extra]).with_columns(cluster=pl.Series(clusters))
    split = split_of(both, **changes)
    judged = np.isin(75, np.concatenate([split.val, split.test, split.official_test]))
    assert judged
    assert [row for row in (80, 81, 82) if row in split.train] == [81, 82]
    assert split.manifest["extra"] == 2
    assert any(
        said.startswith("1 extra images are identical or nearly") for said in split.manifest["warnings"]
    )


# The real thing


def test_the_leak_of_the_real_official_split_is_what_was_counted(emotion_data: Path, tmp_path: Path) -> None:
    from emotion.data.preparation import Preparation
    from emotion.data.readers import fer2013
    from emotion.data.store import prepare

    store = prepare(
        lambda: fer2013.read(emotion_data / "fer2013_csv"), {"name": "f"}, Preparation(48, 1), tmp_path
    )
    split = split_of(store.frame, classes=store.classes)
    assert [len(split.part(part)) for part in PARTS] == [28_709, 3_589, 3_589]
    found = {tuple(leak["parts"]): leak["count"] for leak in split.manifest["leaks"]}
    assert round(found["train", "test"] / 3_589, 3) == 0.080
    assert len(split.manifest["leaked_test_ids"]) >= found["train", "test"]
    folds = [split_of(store.frame, fold=fold, classes=store.classes) for fold in range(4)]
    assert incomplete(store.frame, folds) == []
    counts = np.array([list(fold.manifest["counts"]["val"].values()) for fold in folds])
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1
    for fold in folds:
        assert ("train", "val") not in {tuple(leak["parts"]) for leak in fold.manifest["leaks"]}
        assert fold.manifest["leaked_test_ids"] == split.manifest["leaked_test_ids"]


SHARES = {"fold": None, "folds": 4, "val_fraction": 0.2, "test_fraction": 0.1, "seed": 0}


def published(make_frame: MakeFrame) -> pl.DataFrame:
    """800 samples of four unequal classes in a published split, with twins across its training and test part."""
    rng = np.random.default_rng(0)
    splits = np.repeat(["train", "val", "test"], [600, 100, 100]).tolist()
    digests = [f"{i:016x}" for i in range(800)]
    digests[750] = digests[3]
    return make_frame(rng.choice(4, 800, p=[0.4, 0.3, 0.2, 0.1]).tolist(), splits=splits, digests=digests)


def test_a_balanced_subset_is_drawn_before_the_split_and_the_published_test_part_kept_beside(
    make_frame: MakeFrame,
) -> None:
    frame = published(make_frame)
    split = make_split(frame, **SHARES, per_class=50, classes="abcd")
    ours = np.concatenate([split.train, split.val, split.test])
    assert len(set(ours)) == 200
    assert np.bincount(frame["label"].to_numpy()[ours]).tolist() == [50] * 4
    assert set(frame["split"].gather(ours)) == {"train", "val"}  # a pool of both
    assert split.official_test.tolist() == list(range(700, 800))
    assert split.manifest["counts"]["test"] == dict.fromkeys("abcd", 5)
    assert split.manifest["counts"]["val"] == dict.fromkeys("abcd", 9)
    assert (split.manifest["strategy"], split.manifest["per_class"]) == ("holdout", 50)
    before = np.bincount(frame["label"].to_numpy()[:700]).tolist()
    assert list(split.manifest["before"].values()) == before
    assert set(split.manifest["hash"]) == {"train", "val", "test", "official_test"}


def test_the_subset_depends_on_the_seed_and_not_on_the_order_or_the_fold(make_frame: MakeFrame) -> None:
    def ids(frame: pl.DataFrame, **changes: object) -> list[list[str]]:
        split = make_split(frame, **(SHARES | changes), per_class=50)
        return [sorted(frame["id"].gather(split.part(name))) for name in split.names]

    frame = published(make_frame)
    first = ids(frame)
    assert ids(frame.sample(fraction=1, shuffle=True, seed=1)) == first
    other = ids(frame, seed=1)
    assert other[2] != first[2]
    assert other[3] == first[3]
    folds = [ids(frame, fold=fold) for fold in range(4)]
    assert {tuple(found[2]) for found in folds} == {tuple(first[2])}
    assert sorted(name for found in folds for name in found[1]) == sorted(first[0] + first[1])


def test_a_leak_into_the_published_test_part_is_measured(make_frame: MakeFrame) -> None:
    frame = published(make_frame)
    trained = frame["digest"][int(make_split(frame, **SHARES, per_class=50).train[0])]
    planted = frame.with_columns(digest=frame["digest"].scatter(777, trained))
    split = make_split(planted, **SHARES, per_class=50)
    assert ["s000777"] in [
        leak["ids"] for leak in split.manifest["leaks"] if leak["parts"] == ["train", "official_test"]
    ]
    assert split.manifest["leaked_test_ids"] == []
    assert len({*split.train, *split.val, *split.test}) == 200


def test_a_data_set_without_a_published_test_part_has_none_beside(make_frame: MakeFrame) -> None:
    split = make_split(make_frame([0, 1] * 50), **SHARES, per_class=30)
    assert split.names == ("train", "val", "test")
    assert len(split.train) + len(split.val) + len(split.test) == 60


def test_too_few_of_a_class_for_the_subset_names_it(make_frame: MakeFrame) -> None:
    with pytest.raises(DataError, match=r"data.per_class=30 images of each class .*found that b has 9\."):
        make_split(make_frame([0] * 50 + [1] * 9), **SHARES, per_class=30, classes="ab")


def test_study_d_s_subset_of_the_real_data(emotion_data: Path) -> None:
    table = fer2013.read(emotion_data / "fer2013")
    split = make_split(table.frame, **SHARES, per_class=436, classes=table.classes)
    assert len(split.train) + len(split.val) + len(split.test) == 3052
    assert abs(len(split.test) - 306) <= 4
    assert len(split.official_test) == 3589
    counts = [split.manifest["counts"][part] for part in PARTS]
    assert {sum(part[name] for part in counts) for name in table.classes} == {436}
