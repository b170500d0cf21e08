"""JAFFE: 213 pictures of ten Japanese women, labelled by their file names (`KA.AN1.39.tiff`)."""

import re
from pathlib import Path

from emotion.data.collector import Collector, Sample
from emotion.data.facts import WHOLE, Facts
from emotion.data.layout import IMAGE_SUFFIXES, file_names, locate, subfolders, tree_digest
from emotion.data.table import SampleTable
from emotion.labels import expression

NATURAL_SIZE_PX = 256
CHANNELS = 1
_REVISION = "1"

CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
_CODES = dict(zip(("AN", "DI", "FE", "HA", "NE", "SA", "SU"), range(len(CLASSES)), strict=True))

FACTS = Facts(
    title="Japanese Female Facial Expression (JAFFE)",
    citation="M. Lyons, S. Akamatsu, M. Kamachi, J. Gyoba: Coding Facial Expressions with Gabor Wavelets. IEEE "
    "International Conference on Automatic Face and Gesture Recognition 1998",
    licence="non-commercial research only; nothing may be redistributed",
    source="it is at https://zenodo.org/records/3451524, on request.",
    layouts=(
        "a folder of pictures named <subject>.<emotion><number>.<id>.tiff, as KA.AN1.39.tiff, or of class folders of "
        "them",
    ),
    classes=CLASSES,
    counts={"": {WHOLE: (30, 29, 32, 31, 30, 31, 30)}},
    crop="the whole picture of 256 × 256 pixels",
    group="the person",
    cautions=(
        "ten people in a laboratory: splits must be by person, and a few pictures move a score by points.",
    ),
)
_EXPECTED = "a JAFFE download: " + FACTS.layouts[0]
_NAME = re.compile(r"([A-Z]{2})[.-](AN|DI|FE|HA|NE|SA|SU)(\d+)[.-](\d+)$", re.IGNORECASE)


def signature(root: Path | None) -> str:
    """A cheap digest of what `read` would read."""
    return f"jaffe-{_REVISION}-{tree_digest(_locate(root))}"


def read(root: Path | None) -> SampleTable:
    """The table of a JAFFE download; the group is the person.

    Args:
        root: the folder of the pictures, or one that holds it.

    Raises:
        DataError: nothing there is JAFFE, or most of it is broken.
    """
    place = _locate(root)
    rows = Collector("jaffe", CLASSES, place)
    for folder in (place, *_class_folders(place)):
        for name in file_names(folder):
            _add(rows, (folder / name).relative_to(place).as_posix())
    return rows.table(place, CHANNELS, FACTS)


def _add(rows: Collector, path: str) -> None:
    stem, suffix = Path(path).stem, Path(path).suffix
    match = _NAME.match(stem)
    if suffix.lower() not in IMAGE_SUFFIXES:
        rows.leave_out(path, "not an image file", "unknown file name extension")
    elif not match:
        rows.reject(path, "unknown label", "expected a name such as KA.AN1.39.tiff")
    else:
        person, code = match.group(1).upper(), match.group(2).upper()
        rows.add(Sample(stem, _CODES[code], path, group=person))


def _locate(root: Path | None) -> Path:
    return locate(
        root,
        _EXPECTED,
        lambda folder: _holds_pictures(folder) or bool(_class_folders(folder)),
        FACTS.source,
    )


def _class_folders(place: Path) -> list[Path]:
    """The folders in a folder that are named after an expression and hold pictures of JAFFE."""
    return [below for below in subfolders(place) if expression(below.name) and _holds_pictures(below)]


def _holds_pictures(folder: Path) -> bool:
    return any(
        _NAME.match(Path(name).stem) and Path(name).suffix.lower() in IMAGE_SUFFIXES
        for name in file_names(folder)
    )
