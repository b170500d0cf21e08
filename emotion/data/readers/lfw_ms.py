"""LFW-MS: pictures of public people labelled by a machine (`data/legend.csv` and `images/`)."""

import re
from pathlib import Path
from typing import Literal

import polars as pl

from emotion.data.facts import WHOLE, Facts, count_notes
from emotion.data.images import ImageFiles
from emotion.data.layout import FilesBelow, locate, tree_digest
from emotion.data.table import SampleTable, rejections
from emotion.data.textrows import split_quoted, text_lines
from emotion.errors import DataError
from emotion.labels import EXPRESSIONS, canonical

NATURAL_SIZE_PX = 96
CHANNELS = 3
_REVISION = "2"  # 2: without a note on its commonest classes

CLASSES = EXPRESSIONS
FACTS = Facts(
    title="LFW-MS",
    citation="B. L. Y. Rowe: facial_expressions, https://github.com/muxspace/facial_expressions; pictures: G. B. "
    "Huang, M. Ramesh, T. Berg, E. Learned-Miller: Labeled Faces in the Wild. Technical report 07-49, 2007",
    licence="research; the pictures belong to their photographers",
    source="it is at https://github.com/muxspace/facial_expressions.",
    layouts=("data/legend.csv (user.id,image,emotion) and images/*.jpg",),
    classes=CLASSES,
    # The legend, lower-cased, one row an image, without the image with two labels.
    counts={
        "study": {WHOLE: (6_713, 5_306, 124, 355, 12, 12, 227, 9)},
        "all": {WHOLE: (6_864, 5_693, 267, 367, 21, 208, 252, 9)},
    },
    group="the person",
    cautions=("the labels are a machine's, not people's.",),
    counted=(
        "the legend has 13,690 rows of 13,682 images; eight are listed twice, one of them (`Avinash_30.jpg`) with two "
        "labels. 36 pictures in the folder are not listed.",
        "`data.part=study`: the 12,765 rows named First_Last_0001.jpg are 12,758 images of 5,606 people; 520 show one "
        "of them (George_W_Bush).",
        "source confounds class: 921 rows are not from LFW but film stills, in capitals; they hold 195 of the 208 "
        "images of disgust. With `data.part=all` a network can tell the source instead of the expression.",
    ),
)
_EXPECTED = "an LFW-MS download: data/legend.csv (user.id,image,emotion) and images/*.jpg"
_PERSON = re.compile(r"(.+?)_\d+\w?$")
_STUDY = r"_\d{4}\.jpg$"
_COLUMNS = ("image", "emotion")
_MAX_BAD_SHARE = 0.05

Rejection = tuple[str, str, str]


def signature(root: Path | None, part: Literal["study", "all"] = "study") -> str:
    """A cheap digest of what `read` would read."""
    place, legend = _locate(root)
    return f"lfw_ms-{_REVISION}-{part}-{tree_digest(legend, place / 'images')}"


def read(root: Path | None, part: Literal["study", "all"] = "study") -> SampleTable:
    """The table of an LFW-MS download; the group is the person.

    Args:
        root: the download's folder, or one that holds it.
        part: `study` the images named First_Last_0001.jpg, which come from LFW; `all` the whole legend,
            with the film stills of another source that hold most of the disgust.

    Raises:
        DataError: nothing there is LFW-MS, or more than a twentieth of its rows is broken.
    """
    place, legend = _locate(root)
    rows = _rows(legend)
    on_disk = set(FilesBelow(place).names("images"))
    notes: list[str] = []
    unlisted = len(on_disk - set(rows["image"]))
    if unlisted:
        notes.append(f"images in the folder that are not in the legend: {unlisted:,}.")
    if part == "study":
        left_out = rows.filter(~pl.col("image").str.contains(_STUDY)).height
        rows = rows.filter(pl.col("image").str.contains(_STUDY))
        if left_out:
            notes.append(
                f"study part: {left_out:,} rows of the legend, of other names than First_Last_0001.jpg, don't count."
            )
    listings, repeated = _one_row_an_image(rows)
    rows, broken = _valid(listings, on_disk)
    if len(broken) > _MAX_BAD_SHARE * listings.height:
        raise DataError(
            f"expected LFW-MS in {place}, found {len(broken):,} of {listings.height:,} listings broken; "
            f"the first: {broken[0][0]}: {broken[0][2]}. Unpack the download again."
        )
    if part == "all":
        notes.append(
            "source confounds class: the images that are not from LFW are film stills with nearly all of "
            "the disgust."
        )
    return SampleTable(
        name="lfw_ms",
        classes=CLASSES,
        frame=rows.select("id", "label", "split", "group"),
        source=ImageFiles(place / "images", rows["id"].to_list(), CHANNELS),
        rejected=rejections([*repeated, *broken]),
        notes=(
            *FACTS.cautions,
            *notes,
            *count_notes(FACTS, part, rows, CLASSES, len(repeated) + len(broken)),
        ),
    )


def _locate(root: Path | None) -> tuple[Path, Path]:
    """The download's folder and its legend."""
    place = locate(
        root,
        _EXPECTED,
        lambda folder: _legend(folder).is_file() and (folder / "images").is_dir(),
        FACTS.source,
    )
    return place, _legend(place)


def _legend(folder: Path) -> Path:
    inner = folder / "data" / "legend.csv"
    return inner if inner.is_file() else folder / "legend.csv"


def _rows(legend: Path) -> pl.DataFrame:
    """The legend's rows as text: row (from 1), image, emotion."""
    lines = text_lines(legend)
    _, header = next(lines, (0, ""))
    names = [name.strip().lower() for name in split_quoted(header)]
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise DataError(
            f"expected the columns user.id, image and emotion in {legend}; found {', '.join(names)}."
        )
    at = [names.index(name) for name in _COLUMNS]
    rows = []
    for number, (_, line) in enumerate(lines, start=1):
        cells = split_quoted(line)
        whole = len(cells) == len(names)  # a broken line keeps its place, with an unknown label
        rows.append((number, *(cells[i].strip() for i in at)) if whole else (number, line[:40], ""))
    return pl.DataFrame(
        rows, schema={"row": pl.Int64, "image": pl.String, "emotion": pl.String}, orient="row"
    )


def _one_row_an_image(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Rejection]]:
    """Each image once: a second listing is left out, an image listed with two labels altogether."""
    rejected: list[Rejection] = []
    rows = rows.with_columns(emotion=pl.col("emotion").str.to_lowercase())
    rows = rows.with_columns(
        labels=pl.col("emotion").n_unique().over("image"), listing=pl.int_range(pl.len()).over("image")
    )
    for row in rows.filter(pl.col("labels") > 1).iter_rows(named=True):
        rejected.append(
            (
                row["image"],
                "contradictory labels",
                f"row {row['row']}: {row['emotion']}, one of several labels",
            )
        )
    for row in rows.filter((pl.col("labels") == 1) & (pl.col("listing") > 0)).iter_rows(named=True):
        rejected.append(
            (row["image"], "listed twice", f"row {row['row']}: listed before with the same label")
        )
    return rows.filter((pl.col("labels") == 1) & (pl.col("listing") == 0)), rejected


def _valid(rows: pl.DataFrame, on_disk: set[str]) -> tuple[pl.DataFrame, list[Rejection]]:
    """The rows whose image is there and whose label is known, as id, label, split, group."""
    rejected: list[Rejection] = []
    kept = []
    for row, image, emotion in rows.select("row", *_COLUMNS).iter_rows():
        label = _label(emotion)
        if label is None:
            rejected.append((image, "unknown label", f"row {row}: emotion is {emotion!r}"))
        elif "/" in image or "\\" in image:
            rejected.append((image, "path leaves the data root", f"row {row}: expected a file name"))
        elif image not in on_disk:
            rejected.append((image, "missing file", f"row {row}: not in images/"))
        else:
            kept.append((image, label, None, _person(image)))
    schema = {"id": pl.String, "label": pl.Int64, "split": pl.String, "group": pl.String}
    return pl.DataFrame(kept, schema=schema, orient="row"), rejected


def _label(emotion: str) -> int | None:
    try:
        return CLASSES.index(canonical(emotion))
    except DataError:
        return None


def _person(image: str) -> str:
    stem = image.rpartition(".")[0]
    match = _PERSON.match(stem)
    return match.group(1) if match else stem
