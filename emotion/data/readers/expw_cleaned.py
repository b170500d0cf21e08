"""ExpW Cleaned: face crops of ExpW with labels in FER+'s columns (`label_expw.csv`)."""

import re
from pathlib import Path

from emotion.data.collector import Collector, Sample
from emotion.data.facts import WHOLE, Facts
from emotion.data.layout import IMAGE_SUFFIXES, FilesBelow, find_below, locate, tree_digest
from emotion.data.readers.ferplus_rules import COLUMNS
from emotion.data.table import SampleTable
from emotion.data.textrows import real_number, split_quoted, text_lines

NATURAL_SIZE_PX = 96
CHANNELS = 3
_REVISION = "1"

# FER+'s order without contempt, which ExpW doesn't have.
CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")

FACTS = Facts(
    title="ExpW Cleaned",
    citation="after Z. Zhang, P. Luo, C. C. Loy, X. Tang: From Facial Expression Recognition to Interpersonal "
    "Relation Prediction. International Journal of Computer Vision 126, 2018; cleaned by others",
    licence="as ExpW: research only",
    source="it was published on Kaggle as a cleaned ExpW (label_expw.csv and face crops).",
    layouts=("label_expw.csv and the crops *.png beside it or in a folder below",),
    classes=CLASSES,
    counts={"": {WHOLE: (31_188, 28_111, 6_848, 10_393, 3_548, 3_688, 1_047)}},
    crop="pictures are face crops already",
    group="the picture that the face was cut from: the name without its face number",
    cautions=(
        "the published class counts come from one study (84,823 of 84,830 images) and aren't the authors'.",
    ),
)
_EXPECTED = "an ExpW Cleaned download: " + FACTS.layouts[0]
_LIST = "label_expw.csv"
_CELLS = 2 + len(COLUMNS)
_FACE = re.compile(r"(.+)_\d+$")


def signature(root: Path | None) -> str:
    """A cheap digest of what `read` would read."""
    place = _locate(root)
    return f"expw_cleaned-{_REVISION}-{tree_digest(place, place / _LIST)}"


def read(root: Path | None) -> SampleTable:
    """The table of an ExpW Cleaned download: the label is the column with most votes, the group the whole picture.

    Args:
        root: the download's folder, or one that holds it.

    Raises:
        DataError: nothing there is ExpW Cleaned, or most of it is broken.
    """
    place = _locate(root)
    rows = Collector("expw_cleaned", CLASSES, place)
    files = FilesBelow(_images(place))
    for number, line in text_lines(place / _LIST):
        _read_line(rows, files, f"{_LIST}:{number}", line)
    return rows.table(files.root, CHANNELS, FACTS)


def _locate(root: Path | None) -> Path:
    return locate(root, _EXPECTED, lambda folder: (folder / _LIST).is_file(), FACTS.source)


def _images(place: Path) -> Path:
    """The uppermost folder with pictures in it."""
    found = find_below(place, lambda folder: any(_is_picture(name) for name in FilesBelow(folder).names()))
    return found[0] if found else place


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _read_line(rows: Collector, files: FilesBelow, where: str, line: str) -> None:
    cells = split_quoted(line)
    if len(cells) != _CELLS:
        rows.reject(where, "broken row", f"expected {_CELLS} cells, found {len(cells)}")
        return
    name = cells[0].strip()
    votes = [real_number(cell) for cell in cells[2:]]
    counts = [vote for vote in votes if vote is not None and vote >= 0]
    if len(counts) != len(COLUMNS):
        rows.reject(name or where, "broken row", f"{where}: the votes are not ten numbers")
        return
    most = max(counts)
    if most == 0 or counts.count(most) > 1:
        rows.reject(name, "no majority", f"{where}: the votes are {', '.join(f'{n:g}' for n in counts)}")
        return
    label = counts.index(most)
    if label >= len(CLASSES):
        rows.reject(name, "label outside of ExpW", f"{where}: most votes for {COLUMNS[label]}")
        return
    path = _on_disk(files, name)
    if problem := files.problem(path):
        rows.reject(name or where, problem[0], f"{where}: {problem[1]}")
        return
    match = _FACE.match(path.rpartition(".")[0])
    rows.add(Sample(path, label, path, group=match.group(1) if match else path))


def _on_disk(files: FilesBelow, name: str) -> str:
    """The list may say .jpg where the disk has .png."""
    if files.problem(name) is None:
        return name
    png = name.rpartition(".")[0] + ".png"
    return png if files.problem(png) is None else name
