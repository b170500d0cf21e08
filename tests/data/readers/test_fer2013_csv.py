"""FER2013's csv files: all forms, and each kind of broken row."""

import csv
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emotion.data.preparation import Preparation
from emotion.data.readers import fer2013
from emotion.data.store import Store, prepare
from emotion.errors import DataError

Rows = list[tuple[str, str, str]]


def write(
    path: Path, rows: Rows, header: str = "emotion,pixels,Usage", order: tuple[int, ...] = (0, 1, 2)
) -> Path:
    lines = [header, *(",".join(row[column] for column in order) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_row_becomes_its_image_label_and_part(tmp_path: Path, fer_rows: Rows) -> None:
    table = fer2013.read(write(tmp_path / "fer2013.csv", fer_rows))
    parts = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    for index, (emotion, pixels, usage) in enumerate(fer_rows):
        assert table.frame.row(index)[1:3] == (int(emotion), parts[usage])
        assert table.source.read(index).ravel().tolist() == [int(p) for p in pixels.split()]
    assert table.frame["id"][0] == "row-00001"


@pytest.mark.parametrize(
    ("name", "header", "order"),
    [
        ("icml_face_data.csv", "emotion, Usage, pixels", (0, 2, 1)),
        ("fer2013.csv", "Usage,pixels,emotion", (2, 1, 0)),
        ("fer2013.csv", '"emotion","pixels","Usage"', (0, 1, 2)),
    ],
)
def test_other_names_and_orders_of_the_columns(
    tmp_path: Path, fer_rows: Rows, name: str, header: str, order: tuple[int, ...]
) -> None:
    (tmp_path / "a").mkdir()
    plain = fer2013.read(write(tmp_path / "a" / "fer2013.csv", fer_rows))
    other = fer2013.read(write(tmp_path / name, fer_rows, header, order))
    assert other.frame.equals(plain.frame)
    assert all(np.array_equal(other.source.read(i), plain.source.read(i)) for i in range(len(plain)))


def test_quoted_fields_a_byte_order_mark_and_windows_line_ends(tmp_path: Path, fer_rows: Rows) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([("emotion", "pixels", "Usage"), *fer_rows])
    (tmp_path / "fer2013.csv").write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    table = fer2013.read(tmp_path)
    assert len(table) == len(fer_rows)
    assert table.rejected.height == 0


def test_another_set_in_its_columns_is_not_the_official_split(tmp_path: Path, fer_rows: Rows) -> None:
    """CK+ is handed out so, as ckextended.csv."""
    table = fer2013.read(write(tmp_path / "ckextended.csv", fer_rows))
    assert not table.official
    assert any(
        "found 28 / 14 / 14 images" in note and "not the official split" in note for note in table.notes
    )


def test_train_csv_without_usage_is_split_by_us_and_says_so(tmp_path: Path, fer_rows: Rows) -> None:
    table = fer2013.read(write(tmp_path / "train.csv", fer_rows, "emotion,pixels", (0, 1)))
    assert table.frame["split"].null_count() == len(fer_rows)
    assert not table.official
    assert table.notes[0].startswith("not the official split")


def test_of_several_files_the_one_with_the_official_parts_is_read(tmp_path: Path, fer_rows: Rows) -> None:
    write(tmp_path / "train.csv", fer_rows[:20], "emotion,pixels", (0, 1))
    write(tmp_path / "icml_face_data.csv", fer_rows)
    assert len(fer2013.read(tmp_path)) == len(fer_rows)


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        (
            lambda e, p, u: (e, p.rsplit(" ", 1)[0], u),
            "broken pixels",
            "row 17 (line 18): 2,303 pixels, expected 2,304",
        ),
        (lambda e, p, u: (e, p + " 7", u), "broken pixels", "row 17 (line 18): 2,305 pixels, expected 2,304"),
        (
            lambda e, p, u: (e, p.rsplit(" ", 1)[0] + " 256", u),
            "broken pixels",
            "no whole numbers from 0 to 255",
        ),
        (
            lambda e, p, u: (e, p.rsplit(" ", 1)[0] + " x", u),
            "broken pixels",
            "no whole numbers from 0 to 255",
        ),
        (lambda e, p, u: (e, "", u), "broken pixels", "row 17 (line 18): 0 pixels"),
        (
            lambda e, p, u: ("9", p, u),
            "unknown emotion code",
            "row 17 (line 18): emotion is '9', expected 0 to 6",
        ),
        (lambda e, p, u: ("", p, u), "unknown emotion code", "row 17 (line 18): emotion is "),
        (
            lambda e, p, u: (e, p, "Testing"),
            "unknown Usage",
            "row 17 (line 18): Usage is 'Testing', expected Training",
        ),
        (lambda e, p, u: (e, p, ""), "unknown Usage", "row 17 (line 18): Usage is ''"),
    ],
)
def test_one_broken_row_is_rejected_and_named(
    tmp_path: Path, fer_rows: Rows, change: object, reason: str, detail: str
) -> None:
    assert callable(change)
    rows = [*fer_rows[:16], change(*fer_rows[16]), *fer_rows[17:]]
    table = fer2013.read(write(tmp_path / "fer2013.csv", rows))
    assert table.rejected.height == 1
    assert table.rejected["id"][0] == "row-00017"
    assert table.rejected["reason"][0] == reason
    assert detail in table.rejected["detail"][0]
    assert len(table) == len(fer_rows) - 1
    assert "row-00017" not in table.frame["id"].to_list()
    # What comes after the bad row still has its own pixels.
    expected = [int(p) for p in fer_rows[17][1].split()]
    assert table.source.read(16).ravel().tolist() == expected


def test_many_broken_rows_are_an_error(tmp_path: Path, fer_rows: Rows) -> None:
    rows = [
        ("9", pixels, usage) if i < 10 else (e, pixels, usage)
        for i, (e, pixels, usage) in enumerate(fer_rows)
    ]
    with pytest.raises(
        DataError, match=r"found 10 of 56 rows of .* broken: 10 × unknown emotion code; the first is row 1 "
    ):
        fer2013.read(write(tmp_path / "fer2013.csv", rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("emotion,pixels,Usage\n", "found none"),
        ("name,age\nx,3\n", "expected the columns emotion, pixels and Usage in .*; found name, age"),
        ("pixels\n1 2 3\n", "unlabelled test part"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        fer2013.read(tmp_path)


def test_the_signature_sees_a_rewritten_file(tmp_path: Path, fer_rows: Rows) -> None:
    path = write(tmp_path / "fer2013.csv", fer_rows)
    before = fer2013.signature(tmp_path)
    write(path, fer_rows[:-1])
    assert fer2013.signature(tmp_path) != before


@pytest.fixture(scope="module")
def real_stores(emotion_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    cache = tmp_path_factory.mktemp("cache")
    folders, file = (
        prepare(
            lambda place=place: fer2013.read(emotion_data / place), {"name": place}, Preparation(48, 1), cache
        )
        for place in ("fer2013", "fer2013_csv")
    )
    return folders, file


def test_both_real_forms_give_the_same_store_up_to_order(real_stores: tuple[Store, Store]) -> None:
    folders, file = (store.frame.select("digest", "label", "split") for store in real_stores)
    assert folders.height == file.height == 35_887
    columns = ["digest", "label", "split"]
    assert folders.sort(columns).equals(file.sort(columns))


def test_the_real_duplicates_are_those_that_were_counted(real_stores: tuple[Store, Store]) -> None:
    frame = real_stores[0].frame
    groups = (
        frame.group_by("digest")
        .agg(pl.len(), labels=pl.col("label").n_unique(), splits=pl.col("split").n_unique())
        .filter(pl.col("len") > 1)
    )
    assert (groups.height, groups["len"].sum()) == (1_516, 3_369)
    assert groups.filter(pl.col("splits") > 1).height == 557
    assert groups.filter(pl.col("labels") > 1).height == 57
    assert any(
        note.startswith("1,516 groups of identical images (3,369 images)") for note in real_stores[0].notes
    )
    assert any(note.startswith("57 groups of identical images carry") for note in real_stores[0].notes)
