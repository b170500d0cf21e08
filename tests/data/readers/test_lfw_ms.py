"""LFW-MS: persons as groups, double listings, contradictory labels."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emotion.data.readers import lfw_ms
from emotion.data.skew import skew_notes
from emotion.data.splits import make_split
from emotion.errors import DataError

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
LEGEND = [
    ("Ann_Lee_0001.jpg", "neutral"),
    ("Ann_Lee_0002.jpg", "happiness"),
    ("Bo_O'Neill-Smith_0001.jpg", "sadness"),
    ("HrithikRoshan_12.jpg", "DISGUST"),
    ("facial-expressions_2868588k.jpg", "anger"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "lfw_ms", LEGEND * 1)


def make(root: Path, legend: list[tuple[str, str]], images: list[str] | None = None) -> Path:
    (root / "data").mkdir(parents=True)
    (root / "images").mkdir()
    for name in images if images is not None else sorted({name for name, _ in legend}):
        Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(root / "images" / name)
    many = [(f"Filler_Person_{n:04d}.jpg", "neutral") for n in range(100)]
    for name, _ in many:
        Image.fromarray(np.full((9, 9, 3), 30, np.uint8)).save(root / "images" / name)
    lines = ["user.id,image,emotion", *(f"628,{image},{emotion}" for image, emotion in legend + many)]
    (root / "data" / "legend.csv").write_text("\n".join(lines) + "\n")
    return root


def rows(root: Path, part: str = "all") -> dict[str, tuple[str, str]]:
    table = lfw_ms.read(root, part)  # type: ignore[arg-type]
    frame = table.frame.filter(table.frame["group"] != "Filler_Person")
    return {sample: (table.classes[label], group) for sample, label, _, group in frame.iter_rows()}


def test_names_become_persons_and_labels_lose_their_case(root: Path) -> None:
    assert rows(root) == {
        "Ann_Lee_0001.jpg": ("neutral", "Ann_Lee"),
        "Ann_Lee_0002.jpg": ("happiness", "Ann_Lee"),
        "Bo_O'Neill-Smith_0001.jpg": ("sadness", "Bo_O'Neill-Smith"),
        "HrithikRoshan_12.jpg": ("disgust", "HrithikRoshan"),
        "facial-expressions_2868588k.jpg": ("anger", "facial-expressions"),
    }


def test_the_study_s_part_has_numbers_of_four_digits(root: Path) -> None:
    assert set(rows(root, "study")) == {"Ann_Lee_0001.jpg", "Ann_Lee_0002.jpg", "Bo_O'Neill-Smith_0001.jpg"}
    assert any("2 rows of the legend" in note for note in lfw_ms.read(root, "study").notes)


def test_the_parts_have_different_signatures(root: Path) -> None:
    assert lfw_ms.signature(root, "study") != lfw_ms.signature(root, "all")


def test_every_row_that_is_left_out_is_counted_under_its_reason(tmp_path: Path) -> None:
    legend = [
        *LEGEND,
        ("Ann_Lee_0001.jpg", "NEUTRAL"),  # again, with the same label
        ("Bo_O'Neill-Smith_0001.jpg", "fear"),  # again, with another
        ("Not_There_0001.jpg", "fear"),
        ("Ann_Lee_0002.jpg ", "happiness"),
        ("../images/Ann_Lee_0001.jpg", "fear"),
    ]
    root = make(tmp_path / "lfw", legend, images=[name for name, _ in LEGEND] + ["Un_Listed_0001.jpg"])
    table = lfw_ms.read(root, "all")
    assert sorted(table.rejected.select("id", "reason").iter_rows()) == [
        ("../images/Ann_Lee_0001.jpg", "path leaves the data root"),
        ("Ann_Lee_0001.jpg", "listed twice"),
        ("Ann_Lee_0002.jpg", "listed twice"),
        ("Bo_O'Neill-Smith_0001.jpg", "contradictory labels"),
        ("Bo_O'Neill-Smith_0001.jpg", "contradictory labels"),
        ("Not_There_0001.jpg", "missing file"),
    ]
    assert table.frame.height + table.rejected.height == len(legend) + 100
    assert "images in the folder that are not in the legend: 1." in table.notes


def test_an_unknown_label_is_rejected_by_its_row(tmp_path: Path) -> None:
    table = lfw_ms.read(make(tmp_path / "lfw", [*LEGEND, ("Cy_Day_0001.jpg", "bored")]), "all")
    assert table.rejected.row(0) == ("Cy_Day_0001.jpg", "unknown label", "row 6: emotion is 'bored'")


def test_many_missing_images_are_an_error(tmp_path: Path) -> None:
    legend = [(f"Gone_Away_{n:04d}.jpg", "neutral") for n in range(20)]
    with pytest.raises(
        DataError,
        match="20 of 120 rows can.t be used, .*: 20 × missing file. The first: Gone_Away_0000.jpg: row 1: not in",
    ):
        lfw_ms.read(make(tmp_path / "lfw", legend, images=[]))


def test_another_layout_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected an LFW-MS download: data/legend.csv .* holds nothing"):
        lfw_ms.read(tmp_path)


def test_other_columns_are_refused(root: Path) -> None:
    (root / "data" / "legend.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="expected the columns user.id, image and emotion in .*; found a, b"):
        lfw_ms.read(root)


def test_the_real_study_part(emotion_data: Path) -> None:
    table = lfw_ms.read(emotion_data / "lfw_ms")
    assert len(table) == 12_758
    assert table.frame["group"].n_unique() == 5_606
    assert table.frame.filter(group="George_W_Bush").height == 520
    counts = {table.classes[label]: n for label, n in table.frame["label"].value_counts().iter_rows()}
    # The legend's 12,765 rows less seven listed twice: Kimi_Raikkonen's two and Lin_Yi-fu are neutral, 3 happy, …
    assert (counts["neutral"] + counts["happiness"], counts["contempt"]) == (12_019, 9)
    assert dict(table.rejected["reason"].value_counts().iter_rows()) == {"listed twice": 7}
    assert skew_notes(table.frame["label"].to_numpy(), table.classes)[0].startswith(
        "neutral and happiness hold 94 % of the images"
    )
    assert not any("hold" in note for note in table.notes)  # said once, with the run
    assert any("machine's" in note for note in table.notes)
    assert not any("published" in note for note in table.notes)


def test_the_card_s_counts_of_the_real_legend(emotion_data: Path) -> None:
    """Counted from the legend's text, apart from the reader."""
    lines = (emotion_data / "lfw_ms" / "data" / "legend.csv").read_text().splitlines()[1:]
    rows = [line.split(",")[1:] for line in lines]
    stills = [row for row in rows if row[1].isupper()]
    disgust = [row for row in rows if row[1].lower() == "disgust"]
    study = [name for name, _ in rows if re.search(r"_\d{4}\.jpg$", name)]
    told = " ".join(lfw_ms.FACTS.counted)
    for said in (
        f"{len(rows):,} rows of {len({name for name, _ in rows}):,} images",
        f"the {len(study):,} rows named First_Last_0001.jpg are {len(set(study)):,} images",
        f"{len(stills)} rows are not from LFW",
        f"hold {sum(row[1] == 'DISGUST' for row in stills)} of the {len(disgust)} images of disgust",
    ):
        assert said in told


def test_the_real_legend_as_a_whole(emotion_data: Path) -> None:
    table = lfw_ms.read(emotion_data / "lfw_ms", "all")
    assert table.frame.height + table.rejected.height == 13_690
    assert dict(table.rejected["reason"].value_counts().iter_rows()) == {
        "listed twice": 7,
        "contradictory labels": 2,
    }
    assert set(table.rejected.filter(reason="contradictory labels")["id"]) == {"Avinash_30.jpg"}
    assert "images in the folder that are not in the legend: 36." in table.notes


@pytest.mark.parametrize("part", ["study", "all"])
def test_no_real_person_is_on_both_sides(emotion_data: Path, part: str) -> None:
    table = lfw_ms.read(emotion_data / "lfw_ms", part)  # type: ignore[arg-type]
    for fold in (None, 0, 1, 2, 3):
        split = make_split(table.frame, fold=fold, folds=4, val_fraction=0.1, test_fraction=0.2, seed=0)
        persons = [set(table.frame["group"].gather(rows)) for rows in (split.train, split.val, split.test)]
        assert not persons[0] & persons[1]
        assert not persons[0] & persons[2]
        assert not persons[1] & persons[2]
