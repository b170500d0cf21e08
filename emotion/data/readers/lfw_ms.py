"""LFW-MS: pictures of public people labelled by a machine (`data/legend.csv` and `images/`)."""

import re
from pathlib import Path
from typing import Literal

from emotion.data.collector import Collector, Sample
from emotion.data.facts import WHOLE, Facts
from emotion.data.layout import FilesBelow, locate, tree_digest
from emotion.data.table import SampleTable
from emotion.data.textrows import split_quoted, text_lines
from emotion.errors import DataError
from emotion.labels import EXPRESSIONS, label_of

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
_STUDY = re.compile(r"_\d{4}\.jpg$")
_COLUMNS = ("image", "emotion")
_MAX_BAD_SHARE = 0.05


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
    listings = _listings(legend)
    on_disk = set(FilesBelow(place).names("images"))
    notes: list[str] = []
    unlisted = len(on_disk.difference(image for _, image, _ in listings))
    if unlisted:
        notes.append(f"images in the folder that are not in the legend: {unlisted:,}.")
    wanted = [one for one in listings if part == "all" or _STUDY.search(one[1])]
    if len(wanted) < len(listings):
        notes.append(
            f"study part: {len(listings) - len(wanted):,} rows of the legend, of other names than First_Last_0001.jpg, "
            "don't count."
        )
    if part == "all":
        notes.append(
            "source confounds class: the images that are not from LFW are film stills with nearly all of "
            "the disgust."
        )
    rows = Collector("lfw_ms", CLASSES, place, max_bad=_MAX_BAD_SHARE)
    for number, image, emotion in wanted:
        label = label_of(emotion, CLASSES)
        if label is None:
            rows.reject(image, "unknown label", f"row {number}: emotion is {emotion!r}")
        elif "/" in image or "\\" in image:
            rows.reject(image, "path leaves the data root", f"row {number}: expected a file name")
        elif image not in on_disk:
            rows.reject(image, "missing file", f"row {number}: not in images/")
        else:
            rows.add(Sample(image, label, image, group=_person(image)))
    return rows.table(place / "images", CHANNELS, FACTS, part, tuple(notes))


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


def _listings(legend: Path) -> list[tuple[int, str, str]]:
    """The legend's rows as text: row (from 1), image, emotion."""
    lines = text_lines(legend)
    _, header = next(lines, (0, ""))
    names = [name.strip().lower() for name in split_quoted(header)]
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise DataError(
            f"expected the columns user.id, image and emotion in {legend}; found {', '.join(names)}."
        )
    image, emotion = (names.index(name) for name in _COLUMNS)
    rows = []
    for number, (_, line) in enumerate(lines, start=1):
        cells = split_quoted(line)
        whole = len(cells) == len(names)  # a broken line keeps its place, with an unknown label
        rows.append(
            (number, cells[image].strip(), cells[emotion].strip()) if whole else (number, line[:40], "")
        )
    return rows


def _person(image: str) -> str:
    stem = image.rpartition(".")[0]
    match = _PERSON.match(stem)
    return match.group(1) if match else stem
