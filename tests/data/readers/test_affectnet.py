"""AffectNet: releases, variants, splits, several faces in a picture, and tables of 400,000 rows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emotion.data import mimic
from emotion.data.readers import affectnet, affectnet_files
from emotion.data.recognise import recognise
from emotion.data.splits import make_split
from emotion.errors import ConfigError, DataError
from emotion.launch import compose


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mimic.draw("affectnet", tmp_path / "affectnet", 64, 2)
    return tmp_path / "affectnet"


def by_class(root: Path, **options: object) -> dict[str, int]:
    table = affectnet.read(root, **options)  # type: ignore[arg-type]
    return {table.classes[label]: n for label, n in table.frame["label"].value_counts().iter_rows()}


def test_variants(root: Path) -> None:
    eight, seven, eleven = (by_class(root, variant=variant) for variant in (8, 7, 11))
    assert set(eight) == set(affectnet.CODES[:8])
    assert eight == seven | {"contempt": 8}
    assert eleven == eight | {"none": 8, "uncertain": 8, "non-face": 8}
    table = affectnet.read(root, variant=7)
    assert dict(table.rejected["reason"].value_counts().iter_rows())["not in AffectNet-7"] == 32
    assert "AffectNet-7, release 2017" in table.notes[0]


def test_a_touched_folder_of_annotations_is_another_signature(tmp_path: Path) -> None:
    """What the README advises to whoever changes labels in place."""
    mimic.draw("affectnet_plus", tmp_path / "plus", 16, 2)
    before = affectnet.read(tmp_path / "plus").frame, affectnet.signature(tmp_path / "plus")
    annotations = tmp_path / "plus" / "human_annotated" / "train_set" / "annotations"
    path = annotations / "000001.json"
    path.write_text(path.read_text().replace('"human-label": 1', '"human-label": 2'))
    assert affectnet.signature(tmp_path / "plus") == before[1]
    annotations.touch()
    assert affectnet.signature(tmp_path / "plus") != before[1]
    assert not affectnet.read(tmp_path / "plus").frame.equals(before[0])


def test_pooled_random_takes_whole_jpgs_of_both_parts(root: Path) -> None:
    official = affectnet.read(root)
    pooled = affectnet.read(root, variant=11, split="pooled_random", crop="whole")
    assert official.official
    assert set(official.frame["split"]) == {"train", "test"}
    assert not pooled.official
    assert pooled.frame["split"].null_count() == len(pooled)
    assert "x" not in pooled.frame.columns
    assert all(path.endswith(".jpg") for path in pooled.frame["id"])
    assert any("not the official split" in note for note in pooled.notes)


def test_two_faces_of_one_picture_are_two_samples_of_one_group(root: Path) -> None:
    frame = affectnet.read(root).frame
    pairs = (
        frame.group_by("group").agg(pl.len(), pl.col("x").n_unique(), pl.col("id")).filter(pl.col("len") > 1)
    )
    assert pairs.height == 4
    assert (pairs["x"] == 2).all()
    assert all(
        sample.partition("#")[0] == group
        for group, ids in pairs.select("group", "id").iter_rows()
        for sample in ids
    )


def test_missing_valence_is_null_and_ids_don_t_depend_on_the_order_of_rows(root: Path) -> None:
    frame = affectnet.read(root).frame
    assert frame["valence"].null_count() == 1
    path = root / "Manually_Annotated_file_lists" / "training.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]))
    again = affectnet.read(root).frame
    assert again.drop("valence").sort("id").equals(frame.drop("valence").sort("id"))


@pytest.mark.parametrize("below", ["Manually_Annotated/Manually_Annotated_Images", "."])
def test_where_the_pictures_may_lie(root: Path, below: str) -> None:
    before = affectnet.read(root).frame
    images = root / "Manually_Annotated_Images"
    if below == ".":
        for folder in images.iterdir():
            folder.rename(root / folder.name)
        images.rmdir()
    else:
        (root / below).parent.mkdir(parents=True)
        images.rename(root / below)
    assert affectnet.read(root).frame.equals(before)


def test_a_list_without_its_header_and_columns_in_another_order(root: Path) -> None:
    before = affectnet.read(root).frame
    path = root / "Manually_Annotated_file_lists" / "training.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join(rows))
    assert affectnet.read(root).frame.equals(before)
    turned = [",".join(reversed(row.split(","))) for row in [header, *rows]]
    path.write_text("\n".join([header, *rows]).replace(header, header.upper()))
    assert affectnet.read(root).frame.equals(before)
    path.write_text("\n".join(turned))
    with pytest.raises(DataError, match="broken row|unknown label"):
        affectnet.read(root)  # a header that is not recognised makes every row nonsense, never a wrong label


def test_releases_side_by_side_are_refused(root: Path, tmp_path: Path) -> None:
    mimic.draw("affectnet_2021", tmp_path / "new", 16, 0)
    shutil.move(tmp_path / "new" / "train_set", root)
    with pytest.raises(DataError, match="found the releases 2017 and 2021 mixed"):
        affectnet.read(root)


def test_lists_without_pictures_say_so(root: Path) -> None:
    shutil.rmtree(root / "Manually_Annotated_Images")
    with pytest.raises(DataError, match="found only the lists. Unpack the images"):
        affectnet.read(root)


def test_small_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mimic.draw("affectnet_2021", tmp_path / "root", 16, 0)
    first = affectnet.read(tmp_path / "root")

    def never(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(affectnet_files, "_scalar", never)
    assert affectnet.read(tmp_path / "root", variant=7).frame.equals(first.frame.filter(pl.col("label") < 7))


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    mimic.draw("affectnet_2021", tmp_path / "root", 16, 0)
    label = tmp_path / "root" / "train_set" / "annotations" / "1_exp.npy"
    np.save(label, np.array({"a": 1}, dtype=object), allow_pickle=True)
    table = affectnet.read(tmp_path / "root")
    assert "train_set/images/1.jpg" in table.rejected.filter(reason="unknown label")["id"]


def test_soft_labels_become_targets(tmp_path: Path) -> None:
    mimic.draw("affectnet_plus", tmp_path / "root", 16, 0)
    part = tmp_path / "root" / "human_annotated" / "train_set"
    record = json.loads((part / "annotations" / "000003.json").read_text())
    for variant in (8, 7):
        table = affectnet.read(tmp_path / "root", variant=variant, soft_labels=True)  # type: ignore[arg-type]
        row = table.frame.filter(id="train_set/images/000003.jpg").row(0, named=True)
        soft = np.array(record["soft-label"][:variant])
        assert row["target"] == pytest.approx(soft / soft.sum())
        assert table.classes[row["label"]] == "surprise"
    assert "target" not in affectnet.read(tmp_path / "root").frame.columns


def test_soft_labels_of_another_release_are_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="expected AffectNet\\+ .* found the release 2017"):
        affectnet.read(root, soft_labels=True)


def test_subsets_are_chosen_by_name_in_both_parts(tmp_path: Path) -> None:
    mimic.draw("affectnet_plus", tmp_path / "root", 64, 0)
    every = affectnet.read(tmp_path / "root")
    numbers = {}
    for path in (tmp_path / "root").rglob("0*.json"):
        numbers[path.stem] = json.loads(path.read_text())["subset"]
    for names, codes in ((["easy"], {0}), (["challenging", "difficult"], {1, 2})):
        table = affectnet.read(tmp_path / "root", subset=names)  # type: ignore[arg-type]
        assert {numbers[Path(i).stem] for i in table.frame["id"]} == codes
        assert set(table.frame["split"]) == {"train", "test"}
        left_out = table.rejected.filter(reason="subset not chosen")
        assert len(table) + left_out.height == len(every)
        assert affectnet.signature(tmp_path / "root", subset=names) != affectnet.signature(tmp_path / "root")  # type: ignore[arg-type]


def test_an_image_of_no_subset_is_counted_where_subsets_are_asked_for(tmp_path: Path) -> None:
    mimic.draw("affectnet_plus", tmp_path / "root", 16, 0)
    path = tmp_path / "root" / "human_annotated" / "train_set" / "annotations" / "000003.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"subset": None}))
    table = affectnet.read(tmp_path / "root", subset=["easy"])
    assert table.rejected.filter(reason="unknown subset")["id"].to_list() == ["train_set/images/000003.jpg"]
    assert "train_set/images/000003.jpg" in affectnet.read(tmp_path / "root").frame["id"]


def test_subsets_of_another_release_are_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="data.subset: expected AffectNet\\+, found the release 2017"):
        affectnet.read(root, subset=["easy"])


def test_the_order_of_subsets_is_no_other_run() -> None:
    one, other = (
        compose(["data=affectnet", f"data.subset=[{names}]"]).data
        for names in ("easy,difficult", "difficult,easy")
    )
    assert one == other
    with pytest.raises(ConfigError, match="did you mean easy"):
        compose(["data=affectnet", "data.subset=[eazy]"])


def split_sizes(root: Path) -> dict[str | None, int]:
    return dict(affectnet.read(root).frame["split"].value_counts().iter_rows())


@pytest.mark.parametrize("form", ["affectnet", "affectnet_2021", "affectnet_plus"])
def test_the_validation_part_is_the_test_and_validation_is_taken_from_training(
    form: str, tmp_path: Path
) -> None:
    mimic.draw(form, tmp_path / "root", 64, 0)
    table = affectnet.read(tmp_path / "root")
    assert dict(table.frame["split"].value_counts().iter_rows()) == {"train": 48, "test": 16}
    assert table.official
    assert "48" not in table.notes[0]  # not all of them train
    split = make_split(table.frame, fold=None, folds=4, val_fraction=0.2, test_fraction=0.2, seed=0)
    assert (split.manifest["strategy"], split.manifest["made"]) == ("official", ["val"])
    assert set(table.frame["split"].gather(split.test)) == {"test"}
    assert set(table.frame["split"].gather(split.val)) == {"train"}


def test_affectnet_plus_as_it_is_handed_out(tmp_path: Path) -> None:
    """AffectNet+/human_annotated/{train_set,validation_set}, beside a part that nobody labelled."""
    root = tmp_path / "AffectNet+"
    mimic.draw("affectnet_plus", root, 64, 0)
    assert {path.name for path in (root / "human_annotated").iterdir()} == {"train_set", "validation_set"}
    before = affectnet.read(root).frame
    assert before["valence"].to_list() == [0.5] * 64
    shutil.copytree(root / "human_annotated" / "train_set", root / "no_human_annotated")
    assert affectnet.read(tmp_path).frame.equals(before)


def test_parts_by_other_names(tmp_path: Path) -> None:
    root = tmp_path / "root"
    mimic.draw("affectnet_2021", root, 64, 0)
    (root / "val_set").rename(root / "Validation_Set")
    assert split_sizes(root) == {"train": 48, "test": 16}
    (root / "Validation_Set").rename(root / "held_out")
    with pytest.raises(DataError, match=r"a part of AffectNet .*found labels in held_out too"):
        affectnet.read(root)


def test_a_test_part_that_affectnet_never_had_is_not_the_official_split(tmp_path: Path) -> None:
    root = tmp_path / "root"
    mimic.draw("affectnet_2021", root, 64, 0)
    for kind in ("images", "annotations"):
        (root / "test_set" / kind).mkdir(parents=True)
        for path in list((root / "train_set" / kind).glob("1*")):
            path.rename(root / "test_set" / kind / path.name)
    table = affectnet.read(root)
    sizes = split_sizes(root)
    assert sizes["val"] == 16
    assert sizes["test"] + sizes["train"] == 48
    assert not table.official
    assert any(note.startswith("not the official split: this copy has a test part") for note in table.notes)


def test_a_part_of_unknown_name_costs_the_split_and_is_told(tmp_path: Path) -> None:
    root = tmp_path / "root"
    mimic.draw("affectnet_plus", root, 64, 0)
    (root / "human_annotated" / "validation_set").rename(root / "human_annotated" / "held_out")
    table = affectnet.read(root)
    assert table.frame["split"].null_count() == 64
    assert not table.official
    assert (
        "not the official split: 16 of 64 images are in no known part, so that all are split by us."
        in table.notes
    )


def test_anyone_s_training_csv_is_not_affectnet(tmp_path: Path, root: Path) -> None:
    mimic.draw("csv", tmp_path / "mine", 64, 0)
    (tmp_path / "mine" / "faces.csv").rename(tmp_path / "mine" / "training.csv")
    assert recognise(tmp_path / "mine") == "csv"
    assert recognise(root) == "affectnet"
    (root / "Manually_Annotated_file_lists" / "training.csv").unlink()  # the other has no header
    assert recognise(root) == "affectnet"


@pytest.mark.slow
def test_400_000_rows(tmp_path: Path) -> None:
    """The counts; time and memory are measured by the benchmark that writes the tree."""
    script = Path(__file__).parents[3] / "experiments" / "benchmarks" / "affectnet_table.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "root")], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == found["samples"] + found["rejected"] == 400_000
    assert found["counts"] == found["written"]
    assert found["reasons"] == {
        "missing file": 100,
        "no face box": 300,
        "not in AffectNet-8": 116_000,
        "broken row": 1,
    }
    assert found["peak_mib"] < 2048
