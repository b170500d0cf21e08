"""The forms a download can have, and what is answered to one that isn't what was expected."""

import csv
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import emotion.schema  # noqa: F401  registers the readers
from emotion.data import layout, mimic
from emotion.data.readers import ck_plus, class_folders, csv_table, expw, jaffe, raf_db
from emotion.data.recognise import recognise
from emotion.data.textrows import split_quoted
from emotion.errors import ConfigError, DataError
from emotion.registry import builder

FORMS = [form for form in mimic.FORMS if form not in ("csv", "lfw_ms", "fer2013")]


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    monkeypatch.setenv("EMOTION_CACHE", str(tmp_path / "cache"))

    def make(form: str, count: int = 21, below: str = "") -> Path:
        root = tmp_path / "data" / (below or form)
        mimic.draw(form, root, count, 3)
        return root

    return make


def reader(form: str) -> Any:
    return builder("data", mimic.DATA.get(form, form))


@pytest.mark.parametrize("form", FORMS)
def test_another_folder_is_answered_with_layout_finding_and_source(form: str, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        DataError, match=r"expected (an?|pictures) .*holds holiday/, notes.txt\. .*data\.root"
    ) as failed:
        reader(form).read(tmp_path)
    assert reader(form).FACTS.source in str(failed.value)


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_is_to_be_unpacked(form: str, tmp_path: Path) -> None:
    archive = tmp_path / "download.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a")
    with pytest.raises(DataError, match="is a file. If it is an archive, unpack it first"):
        reader(form).read(archive)
    with pytest.raises(DataError, match="Unpack download.zip first"):
        reader(form).read(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_two_copies_in_one_folder_are_not_guessed_between(form: str, draw: Any) -> None:
    draw(form, below="a")
    root = draw(form, below="b")
    with pytest.raises(
        DataError, match=r"once; found 2 below .*Point data.root at one|expected one .* Keep one"
    ):
        reader(form).read(root.parent)


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_that_can_t_be_read(form: str, draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = draw(form)
    scan, names, open_ = os.scandir, os.listdir, Path.open

    def refuse(original: Any) -> Any:
        def refusing(path: Any, *args: Any, **more: Any) -> Any:
            if str(path).startswith(str(root)):
                raise PermissionError(13, "Permission denied", str(path))
            return original(path, *args, **more)

        return refusing

    monkeypatch.setattr(os, "scandir", refuse(scan))
    monkeypatch.setattr(os, "listdir", refuse(names))
    monkeypatch.setattr(Path, "open", refuse(open_))
    with pytest.raises(DataError, match="can't be read: Permission denied. Check its permissions"):
        reader(form).read(root)


@pytest.mark.parametrize("form", [*FORMS, "csv", "lfw_ms", "fer2013"])
def test_loops_of_links_end(form: str, draw: Any) -> None:
    root = draw(form, 32)
    before = reader(form).read(root).frame
    (root / "again").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    after = reader(form).read(root).frame
    assert after.equals(before)
    assert reader(form).signature(root) == reader(form).signature(root)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("expw", "data/label/label.lst"),
        ("raf_db", "basic/EmoLabel/list_patition_label.txt"),
        ("csv", "faces.csv"),
        ("expw_cleaned", "label_expw.csv"),
        ("ferplus", "fer2013new.csv"),
        ("affectnet", "Manually_Annotated_file_lists/training.csv"),
    ],
)
def test_label_files_in_other_encodings(form: str, name: str, draw: Any) -> None:
    root = draw(form)
    before = reader(form).read(root)
    path = root / name
    text = path.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(text, encoding=encoding)
        assert reader(form).read(root).frame.equals(before.frame)
    path.write_bytes(text.encode("utf-16-le"))  # without its mark it is no text
    with pytest.raises(DataError, match="found another encoding"):
        reader(form).read(root)


def test_names_in_another_encoding_cost_their_rows(draw: Any) -> None:
    root = draw("affectnet")
    path = root / "Manually_Annotated_file_lists" / "training.csv"
    before = reader("affectnet").read(root)
    path.write_bytes(path.read_text().encode("latin-1"))
    after = reader("affectnet").read(root)
    assert after.rejected["reason"].to_list().count("not UTF-8 text") == 1
    assert set(before.frame["id"]) - set(after.frame["id"]) == {"4/0003éabc.png"}


@pytest.mark.parametrize(
    "path", ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "C:\\a.jpg", "\\\\host\\a.jpg", "a\\..\\b"]
)
def test_paths_that_leave_the_root(path: str, tmp_path: Path) -> None:
    assert layout.leaves_root(path)
    found = layout.FilesBelow(tmp_path).problem(path)
    assert found is not None
    assert found[0] == "path leaves the data root"


@pytest.mark.parametrize("path", ["a.jpg", "a/b.jpg", "..a/b..jpg", "a b/é.jpg"])
def test_paths_that_stay(path: str) -> None:
    assert not layout.leaves_root(path)


def test_expw_boxes_are_top_left_right_bottom(draw: Any) -> None:
    root = draw("expw")
    frame = expw.read(root).frame
    line = next(
        line for line in (root / "data/label/label.lst").read_text().splitlines() if " 1 " in line[:24]
    )
    name, face, top, left, right, bottom = line.split()[:6]
    row = frame.filter(id=f"{name}#{face}").row(0, named=True)
    assert (row["x"], row["y"]) == (float(left), float(top))
    assert (row["width"], row["height"]) == (float(right) - float(left), float(bottom) - float(top))
    assert frame.filter(group=name).height == 2


def test_raf_db_in_numbered_folders_is_the_same_data(draw: Any, tmp_path: Path) -> None:
    listed = raf_db.read(draw("raf_db"))
    for sample, label, split in listed.frame.select("id", "label", "split").iter_rows():
        folder = tmp_path / "kaggle" / "DATASET"
        for code in range(1, 8):
            for part in ("train", "test"):
                (folder / part / str(code)).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(listed.source.read(listed.frame["id"].to_list().index(sample)))
        picture.save(folder / split / str(label + 1) / sample.replace(".jpg", "_aligned.jpg"))
    columns = ["id", "label", "split"]
    assert (
        raf_db.read(tmp_path / "kaggle")
        .frame.select(columns)
        .sort("id")
        .equals(listed.frame.select(columns).sort("id"))
    )


def test_raf_db_s_compound_part_is_not_its_basic_part(draw: Any) -> None:
    root = draw("raf_db")
    basic = raf_db.read(root)
    (root / "compound" / "EmoLabel").mkdir(parents=True)
    listed = "".join(f"train_{number:05d}.jpg {1 + number % 11}\n" for number in range(22))
    (root / "compound" / "EmoLabel" / "list_patition_label.txt").write_text(listed)
    shutil.copytree(root / "basic" / "Image", root / "compound" / "Image")
    assert raf_db.read(root).frame.equals(basic.frame)
    with pytest.raises(DataError, match="found 8 in .*that is its compound part. Point data.root at basic"):
        raf_db.read(root / "compound")


def test_ck_plus_frames_and_neutral(draw: Any) -> None:
    root = draw("ck_plus")
    apex, three, calm = ck_plus.read(root), ck_plus.read(root, frames=3), ck_plus.read(root, neutral=True)
    assert len(three) == 3 * len(apex)
    assert len(calm) == 2 * len(apex)
    neutral = calm.frame.filter(label=0)
    assert neutral.height == len(apex)
    assert all(name.endswith("_00000001.png") for name in neutral["id"])
    assert set(three.frame["group"]) == set(apex.frame["group"]) == {"S005", "S006", "S007", "S008"}


@pytest.mark.parametrize("form", ["ck_plus", "ck48"])
def test_neutral_is_a_class_of_ck_plus_only_with_its_frames(form: str, draw: Any) -> None:
    """Else a macro average over the classes has one that no image can earn."""
    root = draw(form)
    table = ck_plus.read(root)
    assert table.classes == ck_plus.CLASSES[1:]
    assert set(table.frame["label"]) == set(range(7))
    if form == "ck_plus":
        assert ck_plus.read(root, neutral=True).classes == ck_plus.CLASSES


def test_a_neutral_label_needs_the_class(draw: Any) -> None:
    root = draw("ck_plus")
    label = next((root / "Emotion").glob("*/*/*_emotion.txt"))
    label.write_text("   0.0000000e+00\n")
    (detail,) = ck_plus.read(root).rejected.filter(reason="unknown label")["detail"]
    assert detail == f"{label.name} holds '   0.0000000e+00', expected one code of 1 to 7"
    assert ck_plus.read(root, neutral=True).rejected.filter(reason="unknown label").is_empty()


def test_a_corrected_label_of_ck_plus_is_another_signature(draw: Any) -> None:
    root = draw("ck_plus")
    before = ck_plus.signature(root)
    label = next((root / "Emotion").glob("*/*/*_emotion.txt"))
    label.write_text(label.read_text().replace("e+00", "e+0"))
    assert ck_plus.signature(root) != before


def test_ck48_has_no_neutral_frames(draw: Any) -> None:
    with pytest.raises(ConfigError, match="found CK\\+48"):
        ck_plus.read(draw("ck48"), neutral=True)


def test_jaffe_s_groups_are_its_people(draw: Any) -> None:
    assert set(jaffe.read(draw("jaffe")).frame["group"]) == {"KA", "KL", "KM"}


@pytest.mark.parametrize("above", ["jaffe", "JAFFE/faces"])
def test_jaffe_sorted_into_class_folders_is_the_same_data(above: str, draw: Any) -> None:
    root = draw("jaffe")
    flat = jaffe.read(root)
    for path in list((root / "jaffe").glob("*.tiff")):
        code = path.name.split(".")[1][:2]
        place = (
            root / "sorted" / above / {"AN": "angry", "HA": "Happy", "SU": "surprise"}.get(code, "neutral")
        )
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    columns = ["id", "label", "group"]
    found = jaffe.read(root / "sorted").frame.select(columns).sort("id")
    assert found.equals(flat.frame.select(columns).sort("id"))
    assert recognise(root / "sorted") == "jaffe"


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def test_folders_of_any_names_are_classes_by_name(tmp_path: Path) -> None:
    for name in ("Bored", "curious", "笑"):
        picture(tmp_path / name / "a.png")
    table = class_folders.read(tmp_path)
    assert table.classes == ("bored", "curious", "笑")
    assert table.frame["split"].null_count() == 3


def test_expressions_have_one_order_whatever_their_folders_are_called(tmp_path: Path) -> None:
    for name in ("Surprised", "angry", "HAPPY", "happiness"):
        picture(tmp_path / name / "a.png")
    table = class_folders.read(tmp_path)
    assert table.classes == ("happiness", "surprise", "anger")
    assert {
        sample: table.classes[label] for sample, label in table.frame.select("id", "label").iter_rows()
    } == {
        "Surprised/a.png": "surprise",
        "angry/a.png": "anger",
        "HAPPY/a.png": "happiness",
        "happiness/a.png": "happiness",
    }


def test_split_folders_beside_class_folders_are_two_data_sets(tmp_path: Path) -> None:
    for name in ("train/happy", "train/sad", "angry", "fear"):
        picture(tmp_path / name / "a.png")
    with pytest.raises(DataError, match="found angry, fear beside train. If two data sets are mixed"):
        class_folders.read(tmp_path)


def test_parts_may_be_called_sets_and_nobody_knows_the_people(tmp_path: Path) -> None:
    for part in ("Train_Set", "validation_set", "test_set"):
        for name in ("happy", "sad"):
            picture(tmp_path / part / name / "a.png")
    table = class_folders.read(tmp_path)
    assert sorted(table.frame["split"]) == ["test", "test", "train", "train", "val", "val"]
    assert any("a person may be in several parts" in note and "data.group" in note for note in table.notes)


def test_two_folders_of_one_part_are_refused(tmp_path: Path) -> None:
    for name in ("val/happy", "val/sad", "validation/happy", "validation/sad"):
        picture(tmp_path / name / "a.png")
    with pytest.raises(DataError, match="one folder for the part val .* found val and validation"):
        class_folders.read(tmp_path)


def test_class_folders_without_a_picture_in_any_part_are_no_classes(tmp_path: Path) -> None:
    for name in ("train/happy", "train/sad", "train/fear", "val/happy", "val/fear"):
        picture(tmp_path / name / "a.png")
    for name in ("train/tmp", "val/tmp", "val/sad"):
        (tmp_path / name).mkdir()
    (tmp_path / "train" / "tmp" / "notes.txt").touch()
    table = class_folders.read(tmp_path)
    assert table.classes == ("happiness", "sadness", "fear")  # by their meaning: all are expressions
    assert table.frame.height == 5
    assert table.rejected["id"].to_list() == ["train/tmp/notes.txt"]


def test_a_class_s_name_that_is_no_text_is_to_be_changed(tmp_path: Path) -> None:
    for name in ("train/happy", "train/\udcff", "train/sad"):
        picture(tmp_path / name / "a.png")
    assert class_folders.signature(tmp_path)
    with pytest.raises(DataError, match=r"names in UTF-8, found .*train/\\udcff\. Rename it"):
        class_folders.read(tmp_path)


@pytest.mark.parametrize("above", ["", "train/"])
def test_folders_of_persons_are_not_offered_as_data_sets(above: str, tmp_path: Path) -> None:
    for name in ("Angry/ann", "Angry/bo", "happy/ann", "sad/cy"):
        picture(tmp_path / f"{above}{name}" / "a.png")
    with pytest.raises(
        DataError, match=r"found 3 below .*Class folders hold the pictures themselves: move"
    ) as told:
        class_folders.read(tmp_path)
    assert "data=csv data.group=" in str(told.value)
    assert "Point data.root" not in str(told.value)


@pytest.mark.parametrize("above", ["", "train/"])
def test_what_lies_beside_class_folders_is_not_in_the_signature(above: str, tmp_path: Path) -> None:
    for name in ("happy", "sad"):
        picture(tmp_path / f"{above}{name}" / "a.png")
    seen = {class_folders.signature(tmp_path)}
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "contact_sheet.png").touch()
    seen.add(class_folders.signature(tmp_path))
    assert len(seen) == 1
    picture(tmp_path / f"{above}happy" / "b.png")
    seen.add(class_folders.signature(tmp_path))
    (tmp_path / f"{above}sad").rename(tmp_path / f"{above}fear")
    seen.add(class_folders.signature(tmp_path))
    picture(tmp_path / f"{above}anger" / "b.png")
    seen.add(class_folders.signature(tmp_path))
    assert len(seen) == 4


def table_of(folder: Path, *lines: str, pictures: int = 3) -> Path:
    for number in range(pictures):
        picture(folder / f"{number}.png")
    path = folder / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_csv_with_boxes_votes_and_semicolons(tmp_path: Path) -> None:
    path = table_of(
        tmp_path,
        "file;l;t;w;h;happy;sad;who;part",
        "0.png;1;2;3;4;9;1;ann;training",
        "0.png;5;2;3;4;1;1;ann;training",
        "1.png;1;2;3;4;0;4;bo;Test",
        "2.png;1;2;0;4;0;4;bo;Test",
        "2.png;1;2;3;4;0;-4;bo;Test",
        "2.png;1;2;3;4;0;4;cy;val",
    )
    table = csv_table.read(
        path,
        path="file",
        label=None,
        split="part",
        group="who",
        box=["l", "t", "w", "h"],
        votes=["happy", "sad"],
    )
    assert table.classes == ("happiness", "sadness")
    assert table.frame.rows() == [
        ("0.png#1,2,3,4", 0, "train", "ann", 1.0, 2.0, 3.0, 4.0, pytest.approx([0.9, 0.1])),
        ("1.png#1,2,3,4", 1, "test", "bo", 1.0, 2.0, 3.0, 4.0, [0.0, 1.0]),
        ("2.png#1,2,3,4", 1, "val", "cy", 1.0, 2.0, 3.0, 4.0, [0.0, 1.0]),
    ]
    assert table.rejected["reason"].to_list() == ["unknown label", "no face box", "broken votes"]


def test_numbers_in_a_csv_need_the_order_of_the_classes(tmp_path: Path) -> None:
    path = table_of(tmp_path, "path,label", "0.png,0", "1.png,2", "2.png,1")
    with pytest.raises(DataError, match="found 3 of 3 that are none, as .*Set data.class_names"):
        csv_table.read(path)
    table = csv_table.read(path, class_names=["sad", "happy", "bored"])
    assert table.classes == ("sadness", "happiness", "bored")
    assert table.frame["label"].to_list() == [0, 2, 1]


def test_numbers_from_1_in_a_csv_are_refused(tmp_path: Path) -> None:
    """Else each would get the next class's name."""
    names = ["sad", "happy", "bored"]
    path = table_of(tmp_path, "path,label", "0.png,1", "1.png,3", "2.png,2")
    with pytest.raises(DataError, match="expected the numbers 0 to 2 .* found 1 to 3. Take 1 from each"):
        csv_table.read(path, class_names=names)
    path.write_text("path,label\n0.png,1\n1.png,0\n2.png,3\n2.png,2\n")
    table = csv_table.read(path, class_names=names)
    assert table.frame["label"].to_list() == [1, 0, 2]
    assert table.rejected["reason"].to_list() == ["unknown label"]


def test_faces_of_one_picture_and_of_one_person_are_one_group(tmp_path: Path) -> None:
    path = table_of(
        tmp_path,
        "path,label,who,x,y,w,h",
        "0.png,happy,cy,1,1,4,4",
        "0.png,sad,bo,5,1,4,4",
        "1.png,sad,bo,1,1,4,4",
        "1.png,happy,,5,1,4,4",
        "2.png,happy,,1,1,4,4",
        "2.png,sad,,5,1,4,4",
        "3.png,sad,ann,1,1,4,4",
        pictures=4,
    )
    boxes = ["x", "y", "w", "h"]
    assert csv_table.read(path, group="who", box=boxes).frame["group"].to_list() == [
        *["bo"] * 4,
        *["2.png"] * 2,
        "ann",
    ]
    assert csv_table.read(path, box=boxes).frame["group"].n_unique() == 4


@pytest.mark.parametrize("class_names", [None, ["sad", "happy"]])
def test_a_csv_with_a_header_alone(tmp_path: Path, class_names: list[str] | None) -> None:
    path = tmp_path / "faces.csv"
    path.write_text("path,label\n")
    with pytest.raises(DataError, match="expected a line for each picture below the first of"):
        csv_table.read(path, class_names=class_names)


def test_a_csv_without_the_named_columns(tmp_path: Path) -> None:
    path = table_of(tmp_path, "file,emotion", "0.png,happy")
    assert csv_table.signature(path)  # which says nothing
    with pytest.raises(
        DataError, match="not so: path, label; the file's first line is 'file,emotion'.*data.path="
    ):
        csv_table.read(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box": ["x", "y"]}, "expected four columns"),
        ({"label": None}, "or data.votes"),
        ({"votes": ["a", "b"], "class_names": ["x"]}, "a column for each of the 1"),
    ],
)
def test_options_of_a_csv_that_contradict_each_other(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        csv_table.read(table_of(tmp_path, "path,label", "0.png,happy"), **options)


def test_the_signature_of_a_csv_sees_the_folders_that_it_names(tmp_path: Path) -> None:
    table = tmp_path / "faces.csv"
    table.write_text(
        "id,where,label\n"
        "1,flat/a.png,happy\n"
        '"2, or so","with, comma/""so""/b.png",sad\n'
        '"3" , "spaced/c.png",sad\n'
        "4,../outside/d.png,sad\n"
        "5,not there/e.png,sad\n"
        "6\n"
    )
    named = ("flat", 'with, comma/"so"', "spaced")
    for folder in (*named, "runs", "flat/deeper"):
        (tmp_path / folder).mkdir(parents=True)
    assert csv_table._folders(table, "where") == sorted([*named, "not there"])
    seen = {csv_table.signature(table, path="where")}
    (tmp_path / "runs" / "first").mkdir()
    (tmp_path / "sweeps").mkdir()
    picture(tmp_path / "flat" / "deeper" / "f.png")
    seen.add(csv_table.signature(table, path="where"))
    assert len(seen) == 1
    for folder in (*named, "not there"):
        picture(tmp_path / folder / "new.png")
        seen.add(csv_table.signature(table, path="where"))
    (tmp_path / "flat" / "new.png").unlink()
    seen.add(csv_table.signature(table, path="where"))
    with table.open("a") as file:
        file.write("7,flat/g.png,sad\n")
    seen.add(csv_table.signature(table, path="where"))
    assert len(seen) == 7


CELLS = st.text(alphabet='ab/", ;.é', max_size=12)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), separator=st.sampled_from(",;\t"))
def test_the_folders_of_a_csv_are_those_of_the_rows_that_are_read(
    rows: list[tuple[str, str, str]], separator: str
) -> None:
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "t.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=separator).writerows([("id", "path", "label"), *rows])
        lines = [split_quoted(line, separator) for line in table.read_text(encoding="utf-8").split("\n")[1:]]
        paths = [cells[1].strip() for cells in lines if len(cells) == 3]
        expected = {path.rpartition("/")[0] for path in paths if path and not path.endswith("/")}
        found = csv_table._folders(table, "path")
        assert {folder for folder in expected if not layout.leaves_root(folder)} <= set(found)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_pictures_beside_a_csv_are_in_its_signature(separator: str, tmp_path: Path) -> None:
    path = table_of(tmp_path, f"path{separator}label", f"0.png{separator}happy", f"1.png{separator}sad")
    assert csv_table._folders(path, "path") == [""]
    before = csv_table.signature(path)
    picture(tmp_path / "9.png")
    assert csv_table.signature(path) != before


def test_a_folder_with_two_csv_files(tmp_path: Path) -> None:
    table_of(tmp_path, "path,label")
    (tmp_path / "u.csv").touch()
    with pytest.raises(DataError, match="2 of them csv files"):
        csv_table.read(tmp_path)
