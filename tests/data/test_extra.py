"""Extra images train and do nothing else."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageEnhance

from emotion.data.dataset import open_store, split_store
from emotion.data.splits import Split, make_split
from emotion.errors import DataError
from emotion.launch import compose
from emotion.schema import RunConfig
from emotion.training.identity import digest, essence

RNG = np.random.default_rng(5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of anger under another spelling, two of fear, and a file that is no image."""
    for name, count in (("angry", 3), ("fear", 2)):
        place = tmp_path / "made" / name
        place.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(RNG.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(place / f"{number}.png")
    (tmp_path / "made" / "fear" / "notes.txt").write_text("how they were made")
    return tmp_path / "made"


def configured(tmp_path: Path, *overrides: str) -> RunConfig:
    return compose(["data.count=140", "data.imbalance=0", f"machine.cache_dir={tmp_path}/cache", *overrides])


def opened(config: RunConfig) -> tuple[pl.DataFrame, Split]:
    store = open_store(config.data, config.preprocess, config.machine.cache_dir)
    return store.frame, split_store(config, store)


def trains_only(frame: pl.DataFrame, split: Split) -> bool:
    """Whether every extra image is in the training part and in no other, under its label."""
    rows = np.flatnonzero(frame["id"].str.starts_with("extra/").to_numpy())
    judged = np.concatenate([split.val, split.test, split.official_test])
    return len(rows) > 0 and np.isin(rows, split.train).all() and not np.isin(rows, judged).any()


@pytest.mark.parametrize(
    "overrides", [(), ("fold=0",), ("fold=3",), ("data.per_class=12",), ("data.split_seed=4",)]
)
def test_extra_images_are_for_training_only(folder: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    frame, split = opened(configured(tmp_path, f"data.extra={folder}", *overrides))
    assert trains_only(frame, split)
    labels = dict(frame.filter(pl.col("id").str.starts_with("extra/")).select("id", "label").iter_rows())
    classes = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
    assert {name: classes[label] for name, label in labels.items()} == {
        **{f"extra/angry/{n}.png": "anger" for n in range(3)},
        **{f"extra/fear/{n}.png": "fear" for n in range(2)},
    }
    assert split.manifest["extra"] == 5
    plain_frame, plain = opened(configured(tmp_path, *overrides))
    for part in ("val", "test"):  # judged by the same images as without
        assert plain.manifest["hash"][part] == split.manifest["hash"][part]
    assert len(split.train) == len(plain.train) + 5
    assert plain_frame.height + 5 == frame.height


def test_names_that_are_no_text_are_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    (folder / "fear" / "0.png").rename(os.fsdecode(os.fsencode(folder / "fear") + b"/\xff.png"))
    config = configured(tmp_path, f"data.extra={folder}")
    store = open_store(config.data, config.preprocess, config.machine.cache_dir)
    assert (store.frame["split"] == "extra").sum() == 4
    assert any("1 more have names that are not valid UTF-8" in note for note in store.notes)


def test_extra_images_among_the_judged_would_be_noticed(folder: Path, tmp_path: Path) -> None:
    """The sabotage: the split forgets what is marked as extra."""
    config = configured(tmp_path, f"data.extra={folder}", "val_fraction=0.4", "test_fraction=0.4")
    frame, split = opened(config)
    assert trains_only(frame, split)
    forgotten = frame.with_columns(split=pl.lit(None, pl.String))
    careless = make_split(forgotten, fold=None, folds=4, val_fraction=0.4, test_fraction=0.4, seed=0)
    assert not trains_only(frame, careless)


def test_an_extra_twin_of_a_judged_image_is_left_out(make_frame: Callable[..., pl.DataFrame]) -> None:
    frame = make_frame([0, 1] * 20)
    options = {"fold": None, "folds": 4, "val_fraction": 0.2, "test_fraction": 0.2, "seed": 0}
    plain = make_split(frame, **options)
    twins = frame[[int(plain.test[0]), int(plain.val[0]), int(plain.train[0])]]
    twins = twins.with_columns(id="extra/" + pl.col("id"), split=pl.lit("extra"))
    split = make_split(pl.concat([frame, twins]), **options)
    assert np.array_equal(split.train, np.append(plain.train, 42))  # the twin of a training image stays
    assert split.manifest["extra"] == 1
    assert split.manifest["leaks"] == []
    assert "2 extra images are identical to one of validation or test" in split.manifest["warnings"][-1]


@pytest.fixture
def near_twins(folder: Path, tmp_path: Path) -> Path:
    """The extra images, with brighter copies of an image of each part beside them."""
    config = configured(tmp_path, "data.group_by=duplicate")
    store = open_store(config.data, config.preprocess, config.machine.cache_dir)
    split = split_store(config, store)
    for part in ("train", "val", "test"):
        image = Image.fromarray(np.asarray(store.images[int(split.part(part)[0])]))
        ImageEnhance.Brightness(image).enhance(1.2).save(folder / "fear" / f"of_{part}.png")
    return folder


def test_an_extra_near_twin_of_a_judged_image_is_left_out(near_twins: Path, tmp_path: Path) -> None:
    frame, split = opened(configured(tmp_path, f"data.extra={near_twins}", "data.group_by=duplicate"))
    trained = set(frame["id"].gather(split.train))
    assert "extra/fear/of_train.png" in trained
    assert not trained & {"extra/fear/of_val.png", "extra/fear/of_test.png"}
    assert split.manifest["extra"] == 6
    assert split.manifest["leaks"] == []
    assert (
        "2 extra images are identical or nearly identical to one of validation or test and left out."
        in split.manifest["warnings"]
    )


def test_an_extra_near_twin_that_stayed_would_be_noticed(
    near_twins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sabotage: all of them train."""

    def careless(frame: pl.DataFrame, split: Split, extra: np.ndarray) -> tuple[Split, int]:
        return replace(split, train=np.sort(np.concatenate([split.train, extra]))), 0

    monkeypatch.setattr("emotion.data.splits._with_extra", careless)
    with pytest.raises(DataError, match=r"not sound: 1 samples of val share their near duplicate with train"):
        opened(configured(tmp_path, f"data.extra={near_twins}", "data.group_by=duplicate"))


def test_they_are_part_of_the_identity_by_content_not_by_place(folder: Path, tmp_path: Path) -> None:
    def identity(*overrides: str) -> str:
        config = configured(tmp_path, *overrides)
        store = open_store(config.data, config.preprocess, config.machine.cache_dir)
        return digest(essence(config, store.fingerprint))

    moved = tmp_path / "elsewhere"
    with_them = identity(f"data.extra={folder}")
    assert with_them != identity()
    folder.rename(moved)
    assert identity(f"data.extra={moved}") == with_them
    Image.fromarray(RNG.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(moved / "fear" / "9.png")
    assert identity(f"data.extra={moved}") != with_them


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((), "expected a folder in data.extra"),
        (("fear/",), "expected images in folders named after expressions"),
        (("fear/a.txt",), "expected images in folders named after expressions"),
        (("contempt/a.png",), "expected folders named after neutral, happiness"),  # not among these 7 classes
        (("joyful/a.png",), "expected folders named after neutral, happiness"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, made: tuple[str, ...], said: str) -> None:
    folder = tmp_path / "made"
    for name in made:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            Image.new("L", (48, 48)).save(folder / name)
        elif not name.endswith("/"):
            (folder / name).write_text("")
        else:
            (folder / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match=said):
        opened(configured(tmp_path, f"data.extra={folder}"))
