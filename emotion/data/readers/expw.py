"""ExpW: 91,793 faces in pictures found by a search engine (`data/label/label.lst` and `data/image/origin/`)."""

from pathlib import Path

from emotion.data.collector import Collector, Sample
from emotion.data.facts import WHOLE, Facts
from emotion.data.layout import FilesBelow, locate, tree_digest
from emotion.data.table import SampleTable
from emotion.data.textrows import real_number, text_lines, whole_number
from emotion.errors import DataError

NATURAL_SIZE_PX = 96
CHANNELS = 3
_REVISION = "1"

# The list's codes 0 to 6.
CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

FACTS = Facts(
    title="Expression in-the-Wild (ExpW)",
    citation="Z. Zhang, P. Luo, C. C. Loy, X. Tang: From Facial Expression Recognition to Interpersonal Relation "
    "Prediction. International Journal of Computer Vision 126, 2018",
    licence="research only; the pictures belong to their photographers",
    source="it is at https://mmlab.ie.cuhk.edu.hk/projects/socialrelation/index.html.",
    layouts=("data/label/label.lst and data/image/origin/*.jpg", "label.lst and origin/*.jpg"),
    classes=CLASSES,
    counts={"": {WHOLE: (3_671, 3_995, 1_088, 30_537, 10_559, 7_060, 34_883)}},
    crop="the face box of the list: top, left, right, bottom",
    group="the picture: 12,448 hold more than one labelled face",
    cautions=("file names carry the search word, which is close to the label: never a feature.",),
)
_EXPECTED = "an ExpW download: " + "; or ".join(FACTS.layouts)
_LISTS = ("data/label/label.lst", "label/label.lst", "label.lst")
_IMAGES = ("data/image/origin", "image/origin", "origin", "data/image", "image")
_FIELDS = 7  # after the name: face id, top, left, right, bottom, confidence, expression


def signature(root: Path | None) -> str:
    """A cheap digest of what `read` would read."""
    place = _locate(root)
    return f"expw-{_REVISION}-{tree_digest(_list(place), _images(place))}"


def read(root: Path | None) -> SampleTable:
    """The table of an ExpW download: one sample a face, the group is the picture.

    Args:
        root: the download's folder, or one that holds it.

    Raises:
        DataError: nothing there is ExpW, or most of it is broken.
    """
    place = _locate(root)
    rows = Collector("expw", CLASSES, place)
    files = FilesBelow(_images(place))
    for number, line in text_lines(_list(place)):
        _read_line(rows, files, f"label.lst:{number}", line)
    return rows.table(files.root, CHANNELS, FACTS)


def _locate(root: Path | None) -> Path:
    return locate(
        root, _EXPECTED, lambda folder: any((folder / name).is_file() for name in _LISTS), FACTS.source
    )


def _list(place: Path) -> Path:
    return next(place / name for name in _LISTS if (place / name).is_file())


def _images(place: Path) -> Path:
    for name in _IMAGES:
        if (place / name).is_dir():
            return place / name
    raise DataError(
        f"expected ExpW's pictures in {place}/data/image/origin or {place}/origin, found only the list. Join and "
        "unpack the parts of origin.7z beside it."
    )


def _read_line(rows: Collector, files: FilesBelow, where: str, line: str) -> None:
    cells = line.rsplit(maxsplit=_FIELDS)  # from the right: names may hold spaces
    if len(cells) != _FIELDS + 1:
        rows.reject(where, "broken row", f"expected 8 cells, found {len(cells)}")
        return
    name = cells[0].strip()
    face, code = whole_number(cells[1]), whole_number(cells[7])
    sample_id = f"{name}#{face}"
    top, left, right, bottom = (real_number(cell) for cell in cells[2:6])
    if face is None or top is None or left is None or right is None or bottom is None:
        rows.reject(name, "broken row", f"{where}: face id and box are not five numbers")
    elif code is None or not 0 <= code < len(CLASSES):
        rows.reject(sample_id, "unknown label", f"{where}: expression is {cells[7]!r}")
    elif problem := files.problem(name):
        rows.reject(sample_id, problem[0], f"{where}: {problem[1]}")
    elif right <= left or bottom <= top or right <= 0 or bottom <= 0:
        box = f"top {top:g}, left {left:g}, right {right:g}, bottom {bottom:g}"
        rows.reject(sample_id, "no face box", f"{where}: {box}")
    else:
        rows.add(Sample(sample_id, code, name, group=name, box=(left, top, right - left, bottom - top)))
