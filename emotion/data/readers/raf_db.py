"""RAF-DB, basic emotions: 15,339 aligned faces (`EmoLabel/list_patition_label.txt`, or Kaggle's numbered folders)."""

from pathlib import Path

from emotion.data.collector import Collector, Sample
from emotion.data.facts import Facts
from emotion.data.layout import (
    IMAGE_SUFFIXES,
    FilesBelow,
    existing_root,
    file_names,
    listing,
    locate,
    subfolders,
    tree_digest,
)
from emotion.data.table import SampleTable
from emotion.data.textrows import text_lines, whole_number
from emotion.errors import DataError

NATURAL_SIZE_PX = 100
CHANNELS = 3
_REVISION = "2"  # 2: the compound part is refused

# The codes 1 to 7: they start at 1, so a label is a code less one.
CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")

FACTS = Facts(
    title="Real-world Affective Faces Database (RAF-DB), basic emotions",
    citation="S. Li, W. Deng, J. Du: Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression "
    "Recognition in the Wild. CVPR 2017",
    licence="on request to the authors, research only; nothing may be redistributed",
    source="it is handed out by its authors: http://www.whdeld.cn/RAF/model1.html.",
    layouts=(
        "basic/EmoLabel/list_patition_label.txt (so spelt) and basic/Image/aligned/train_00001_aligned.jpg",
        "{train,test}/{1..7}/*.jpg, Kaggle's copy",
    ),
    classes=CLASSES,
    counts={
        "": {
            "train": (1290, 281, 717, 4772, 1982, 705, 2524),
            "test": (329, 74, 160, 1185, 478, 162, 680),
        }
    },
    crop="pictures are aligned face crops of 100 pixels already",
    cautions=("RAF-DB has no validation part: scores that were selected on its test part are too high.",),
)
_EXPECTED = "an RAF-DB download: " + "; or ".join(FACTS.layouts)
_LISTS = tuple(
    folder + name
    for folder in ("EmoLabel/", "")
    for name in ("list_patition_label.txt", "list_partition_label.txt")
)
_IMAGES = ("Image/aligned", "Image/aligned/aligned", "aligned", ".")
_PARTS = ("train", "test")
_CODES = tuple(str(code) for code in range(1, len(CLASSES) + 1))
_COMPOUND = "compound"  # the folder of the part with the codes 1 to 11, which mean other things
_MOST_COMPOUND = 11


def signature(root: Path | None) -> str:
    """A cheap digest of what `read` would read."""
    place = _locate(root)
    label_file = _list(place)
    return f"raf_db-{_REVISION}-{tree_digest(place, *([label_file] if label_file else []))}"


def read(root: Path | None) -> SampleTable:
    """The table of RAF-DB's basic part with its official train and test parts.

    Args:
        root: the download's folder, or one that holds it.

    Raises:
        DataError: nothing there is RAF-DB's basic part, or most of it is broken.
    """
    place = _locate(root)
    rows = Collector("raf_db", CLASSES, place)
    label_file = _list(place)
    if label_file is None:
        _read_folders(rows, place)
        return rows.table(place, CHANNELS, FACTS, official=True)
    files = FilesBelow(_images(place))
    for number, line in text_lines(label_file):
        _read_line(rows, files, f"{label_file.name}:{number}", line)
    return rows.table(files.root, CHANNELS, FACTS, official=True)


def _locate(root: Path | None) -> Path:
    start = existing_root(root, _EXPECTED)

    def accepts(folder: Path) -> bool:
        below = [part.lower() for part in folder.relative_to(start).parts]
        return _COMPOUND not in below and bool(_list(folder) or _numbered(folder))

    return locate(root, _EXPECTED, accepts, FACTS.source)


def _list(place: Path) -> Path | None:
    return next((place / name for name in _LISTS if (place / name).is_file()), None)


def _numbered(place: Path) -> bool:
    return all((place / part / code).is_dir() for part in _PARTS for code in _CODES)


def _images(place: Path) -> Path:
    for name in _IMAGES:
        if any(Path(file).suffix.lower() in IMAGE_SUFFIXES for file in FilesBelow(place).names(name)):
            return place / name
    raise DataError(
        f"expected RAF-DB's aligned pictures in {place}/Image/aligned, found {listing(place)} in {place}. Unpack "
        "Image/aligned.zip there."
    )


def _read_line(rows: Collector, files: FilesBelow, where: str, line: str) -> None:
    name, _, cell = line.strip().rpartition(" ")
    name = name.strip()
    code, part = whole_number(cell), name.partition("_")[0]
    stem, dot, suffix = name.rpartition(".")
    aligned = f"{stem}_aligned{dot}{suffix}"
    path = aligned if files.problem(aligned) is None else name  # some copies took the ending off
    if code is not None and len(CLASSES) < code <= _MOST_COMPOUND:
        raise DataError(
            f"expected RAF-DB's basic part with the codes 1 to {len(CLASSES)}, found {code} in {where}: that is its "
            "compound part. Point data.root at basic."
        )
    if code is None or not 1 <= code <= len(CLASSES):
        rows.reject(name or where, "unknown label", f"{where}: the code is {cell!r}, expected 1 to 7")
    elif part not in _PARTS:
        rows.reject(name or where, "no official part", f"{where}: names begin with train_ or test_")
    elif problem := files.problem(path):
        rows.reject(name, problem[0], f"{where}: {problem[1]}")
    else:
        rows.add(Sample(name, code - 1, path, split=part))


def _read_folders(rows: Collector, place: Path) -> None:
    for part in _PARTS:
        for folder in subfolders(place / part):
            for file in file_names(folder):
                path = f"{part}/{folder.name}/{file}"
                if folder.name not in _CODES:
                    rows.reject(path, "unknown label", f"the folder {folder.name!r} is none of 1 to 7")
                elif Path(file).suffix.lower() not in IMAGE_SUFFIXES:
                    rows.reject(path, "not an image file", "unknown file name extension")
                else:
                    # the id of the list form, so that both forms are one data set
                    sample_id = file.replace("_aligned", "")
                    rows.add(Sample(sample_id, int(folder.name) - 1, path, split=part))
