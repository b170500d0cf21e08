"""FER2013's folder form: official parts from file names, and a clear answer to everything that isn't it."""

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from emotion.data.preparation import Preparation
from emotion.data.readers import fer2013
from emotion.data.readers.fer2013_facts import describe_parts
from emotion.data.store import prepare
from emotion.data.table import SampleTable
from emotion.errors import DataError

CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
OFFICIAL = {"train": 28_709, "val": 3_589, "test": 3_589}
PER_CLASS = {
    "train": [3995, 436, 4097, 7215, 4830, 3171, 4965],
    "val": [467, 56, 496, 895, 653, 415, 607],
    "test": [491, 55, 528, 879, 594, 416, 626],
}


def splits(table: SampleTable) -> dict[str | None, int]:
    return dict(table.frame["split"].value_counts().iter_rows())


def reasons(table: SampleTable) -> dict[str, int]:
    return dict(table.rejected["reason"].value_counts().iter_rows())


def test_the_file_name_tells_part_and_the_folder_the_label(fer_folders: Path) -> None:
    table = fer2013.read(fer_folders)
    assert table.classes == CODES
    assert splits(table) == {"train": 28, "val": 14, "test": 14}
    parts = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    names = {"angry": 0, "disgust": 1, "fear": 2, "happy": 3, "sad": 4, "surprise": 5, "neutral": 6}
    for index, (sample, label, split) in enumerate(table.frame.select("id", "label", "split").iter_rows()):
        _, folder, file = sample.split("/")
        assert label == names[folder]
        assert split == parts[file.split("_")[0]]
        assert np.array_equal(table.source.read(index), np.asarray(Image.open(fer_folders / sample)))


@pytest.mark.parametrize("name", ["validation", "dev", "PublicTest"])
def test_a_separate_validation_folder_gives_the_same_parts(fer_folders: Path, name: str) -> None:
    together = fer2013.read(fer_folders)
    for file in list(fer_folders.glob("test/*/PublicTest_*")):
        place = fer_folders / name / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.move(file, place)
    apart = fer2013.read(fer_folders)
    assert splits(apart) == splits(together)

    def by_name(table: SampleTable) -> set[tuple[str, int, str]]:
        return {(i.rpartition("/")[2], label, s) for i, label, s, _ in table.frame.iter_rows()}

    assert by_name(apart) == by_name(together)


@pytest.mark.parametrize("above", ["", "archive", "archive/fer 2013 (copy)"])
def test_the_download_may_lie_in_a_folder_or_two(fer_folders: Path, tmp_path: Path, above: str) -> None:
    root = tmp_path / "elsewhere [ü]"
    shutil.move(fer_folders, root / above)
    table = fer2013.read(root)
    assert len(table) == 56
    assert table.frame["id"].str.starts_with("t").all()  # train/… or test/…: nothing of the place


def test_ids_and_signature_do_not_depend_on_the_place(fer_folders: Path, tmp_path: Path) -> None:
    before = fer2013.read(fer_folders).frame, fer2013.signature(fer_folders)
    shutil.move(fer_folders, tmp_path / "moved")
    assert before[0].sort("id").equals(fer2013.read(tmp_path / "moved").frame.sort("id"))
    assert before[1] == fer2013.signature(tmp_path / "moved")


def test_the_signature_sees_added_removed_and_renamed_files(fer_folders: Path) -> None:
    seen = {fer2013.signature(fer_folders)}
    file = fer_folders / "train" / "happy" / "Training_30.jpg"
    renamed = file.rename(file.with_name("Training_39.jpg"))
    seen.add(fer2013.signature(fer_folders))
    renamed.unlink()
    seen.add(fer2013.signature(fer_folders))
    assert len(seen) == 3


def almost_whole(share: float) -> pl.DataFrame:
    """The first share of each class and part, as columns split and label."""
    rows = [
        (split, label)
        for split, counts in PER_CLASS.items()
        for label, n in enumerate(counts)
        for _ in range(round(share * n))
    ]
    return pl.DataFrame(rows, schema=["split", "label"], orient="row")


def test_a_few_missing_images_are_told() -> None:
    (note,), official = describe_parts(almost_whole(0.97), True, 3)
    assert note.startswith("incomplete: found 27,848 / 3,481 / 3,481 images")
    assert note.endswith("(rows left out: 3).")
    assert official


@pytest.mark.parametrize("share", [0.01, 0.9])
def test_a_small_part_of_it_is_not_the_official_split(share: float) -> None:
    (note,), official = describe_parts(almost_whole(share), True, 0)
    assert "That is not the official split" in note
    assert not official


def test_a_renumbered_copy_is_not_the_official_split(fer_folders: Path) -> None:
    for number, file in enumerate(sorted(fer_folders.glob("*/*/*.jpg"))):
        file.rename(file.with_name(f"{number}.jpg"))
    table = fer2013.read(fer_folders)
    assert not table.official
    assert splits(table) == {"train": 28, "test": 28}
    assert any(
        note.startswith("not the official split: train / val / test 28 / 0 / 28") for note in table.notes
    )


def test_more_images_than_published_in_a_part_is_not_the_official_split(fer_folders: Path) -> None:
    first = next((fer_folders / "test" / "disgust").glob("PrivateTest_*"))
    for number in range(60):  # 55 were published
        shutil.copy(first, first.with_name(f"PrivateTest_9{number}.jpg"))
    table = fer2013.read(fer_folders)
    assert not table.official
    assert any("not the official split" in note for note in table.notes)


def test_images_in_another_part_s_folder_are_told_and_the_name_decides(fer_folders: Path) -> None:
    file = fer_folders / "train" / "happy" / "Training_30.jpg"
    shutil.move(file, fer_folders / "test" / "happy")
    table = fer2013.read(fer_folders)
    assert splits(table)["train"] == 28
    assert any(note.startswith("1 images lie in the folder of another part") for note in table.notes)


def test_a_part_in_two_folders_is_an_error(fer_folders: Path) -> None:
    shutil.copytree(fer_folders / "test", fer_folders / "PrivateTest")
    with pytest.raises(DataError, match="one folder for the part test in .*, found PrivateTest and test"):
        fer2013.read(fer_folders)


def test_what_lies_beside_the_parts_is_told(fer_folders: Path) -> None:
    """As in a download that was unpacked twice."""
    alone = fer2013.read(fer_folders)
    shutil.copytree(fer_folders, fer_folders / "fer2013 (1)", ignore=shutil.ignore_patterns("fer2013 (1)"))
    table = fer2013.read(fer_folders)
    assert table.frame.equals(alone.frame)
    assert "folders beside test, train are not read: fer2013 (1)." in table.notes


def test_class_folders_without_parts_are_split_by_us(fer_folders: Path, tmp_path: Path) -> None:
    for file in list(fer_folders.glob("*/*/*.jpg")):
        place = tmp_path / "flat" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place / f"{file.parent.parent.name}{file.stem.split('_')[1]}-{file.name[:2]}.jpg")
    table = fer2013.read(tmp_path / "flat")
    assert splits(table) == {None: len(table)}
    assert not table.official
    assert "names no parts" in table.notes[0]


def test_broken_files_are_rejected_one_by_one(fer_folders: Path, tmp_path: Path) -> None:
    happy = fer_folders / "train" / "happy"
    whole = (happy / "Training_30.jpg").read_bytes()
    (happy / "Training_30.jpg").write_bytes(whole[: len(whole) // 2])
    (happy / "Training_31.jpg").write_text("not an image")
    (happy / "Training_32.jpg").write_bytes(b"")
    (happy / "notes.txt").write_text("mine")
    (happy / ".DS_Store").write_text("")
    (happy / "me.jpg").write_bytes(whole)
    (happy / "more").mkdir()
    table = fer2013.read(fer_folders)
    assert reasons(table) == {"not an image file": 1, "no official part": 1, "unexpected folder": 1}
    store = prepare(lambda: table, {"name": "x"}, Preparation(48, 1), tmp_path / "cache")
    assert store.manifest["rejected"] == {
        "unreadable image": 3,
        "not an image file": 1,
        "no official part": 1,
        "unexpected folder": 1,
    }
    assert len(store) == 53
    unreadable = store.rejected.filter(store.rejected["reason"] == "unreadable image")
    assert unreadable["id"].to_list() == [f"train/happy/Training_3{n}.jpg" for n in range(3)]
    details = unreadable["detail"].to_list()
    assert "runcated" in details[0]
    assert "not an image" in details[1]
    assert "empty" in details[2]


def test_names_with_any_letters_work_and_those_that_are_no_text_are_rejected(
    fer_folders: Path, tmp_path: Path
) -> None:
    root = tmp_path / "Gesichter (neu), =größe [表情]"
    shutil.move(fer_folders, root)
    sad = root / "train" / "sad"
    (sad / "Training_40.jpg").rename(sad / "Training_悲しい, =[1].jpg")
    shutil.copy(sad / "Training_41.jpg", os.fsencode(sad) + b"/Training_\xff.jpg")
    table = fer2013.read(root)
    assert len(table) == 56
    assert reasons(table) == {"file name is not text": 1}
    assert fer2013.signature(root)
    store = prepare(lambda: table, {"name": "x"}, Preparation(48, 1), tmp_path / "cache")
    assert store.frame.filter(id="train/sad/Training_悲しい, =[1].jpg").height == 1


def test_one_part_alone_is_not_the_official_split(fer_folders: Path) -> None:
    shutil.rmtree(fer_folders / "test")
    table = fer2013.read(fer_folders)
    assert not table.official
    assert any("28 / 0 / 0" in note for note in table.notes)


def test_a_folder_that_contains_itself_does_no_harm(fer_folders: Path) -> None:
    (fer_folders / "train" / "happy" / "loop").symlink_to(fer_folders, target_is_directory=True)
    assert fer2013.signature(fer_folders)
    assert len(fer2013.read(fer_folders)) == 56


def test_folders_whose_names_are_no_text_are_rejected(fer_folders: Path) -> None:
    picture = fer_folders / "train" / "happy" / "Training_30.jpg"
    for folder in ("train/\udcff", "train/happy/\udcfe", "\udcfd"):
        (fer_folders / folder).mkdir()
    shutil.copy(picture, fer_folders / "train" / "\udcff")
    table = fer2013.read(fer_folders)
    assert len(table) == 56
    assert reasons(table) == {"file name is not text": 1, "unexpected folder": 1}
    assert "folders beside test, train are not read: \\udcfd." in table.notes
    assert fer2013.signature(fer_folders)


@pytest.mark.parametrize("part", ["", "train"])
def test_runs_in_the_data_s_folder_are_none_of_it(fer_folders: Path, part: str) -> None:
    root = fer_folders / part
    before, signature = fer2013.read(root), fer2013.signature(root)
    (root / "runs" / "first" / "figures").mkdir(parents=True)
    (root / "audit.csv").touch()
    assert fer2013.signature(root) == signature
    after = fer2013.read(root)
    assert after.frame.equals(before.frame)
    assert after.rejected.equals(before.rejected)
    shutil.copy(fer_folders / "train" / "happy" / "Training_30.jpg", fer_folders / "train" / "sad")
    assert fer2013.signature(root) != signature


def test_a_further_class_folder_is_rejected_by_name(fer_folders: Path) -> None:
    place = fer_folders / "train" / "bored"
    place.mkdir()
    shutil.copy(fer_folders / "train" / "happy" / "Training_30.jpg", place)
    table = fer2013.read(fer_folders)
    assert reasons(table) == {"unknown class folder 'bored'": 1}
    assert len(table) == 56


def test_a_misspelt_class_folder_is_an_error_that_names_it(fer_folders: Path) -> None:
    for part in ("train", "test"):
        (fer_folders / part / "happy").rename(fer_folders / part / "hapy")
    with pytest.raises(DataError, match=r"none of happiness; found instead unknown class folder 'hapy'"):
        fer2013.read(fer_folders)


def test_an_unset_root_is_an_error() -> None:
    with pytest.raises(DataError, match="found null. Set data.root="):
        fer2013.read(None)


def test_a_missing_root_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "fer2013-copy").mkdir()
    with pytest.raises(DataError, match=r"does not exist.*exists and holds fer2013-copy/"):
        fer2013.read(tmp_path / "fer2013")


@pytest.mark.parametrize("content", ["nothing", "cats/"])
def test_another_layout_says_what_was_expected_found_and_what_to_do(tmp_path: Path, content: str) -> None:
    if content == "cats/":
        (tmp_path / "cats").mkdir()
    with pytest.raises(DataError) as caught:
        fer2013.read(tmp_path)
    text = str(caught.value)
    assert "expected a FER2013 download: fer2013.csv" in text
    assert f"holds {content}" in text
    assert "https://www.kaggle.com" in text


def test_class_folders_without_images_are_an_error(fer_folders: Path) -> None:
    for file in fer_folders.glob("*/*/*.jpg"):
        file.unlink()
    with pytest.raises(DataError, match="expected images in the class folders of .* found none"):
        fer2013.read(fer_folders)


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "fer2013.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="unpack it first"):
        fer2013.read(tmp_path / "fer2013.zip")


def test_two_downloads_below_the_root_are_an_error(fer_folders: Path) -> None:
    shutil.copytree(fer_folders, fer_folders.parent / "again")
    with pytest.raises(DataError, match="found 2 below .*: again, fer2013"):
        fer2013.read(fer_folders.parent)


def test_the_real_folders_have_the_published_counts(emotion_data: Path) -> None:
    table = fer2013.read(emotion_data / "fer2013")
    assert splits(table) == OFFICIAL
    counts = {
        split: [table.frame.filter(split=split, label=label).height for label in range(7)]
        for split in OFFICIAL
    }
    assert counts == PER_CLASS
    assert table.official
    assert not table.notes
    assert table.rejected.height == 0
