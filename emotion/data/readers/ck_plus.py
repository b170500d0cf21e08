"""CK+: posed sequences of 123 people (`cohn-kanade-images` and `Emotion`), or CK+48, their last three frames."""

import re
from pathlib import Path

from emotion.data.collector import Collector, Sample
from emotion.data.facts import WHOLE, Facts
from emotion.data.layout import IMAGE_SUFFIXES, file_names, locate, subfolders, tree_digest
from emotion.data.table import SampleTable
from emotion.data.textrows import text_lines, whole_number
from emotion.errors import ConfigError, DataError
from emotion.labels import label_of

NATURAL_SIZE_PX = 96
CHANNELS = 1
_REVISION = "2"  # 2: neutral is a class only where its frames are taken

# The codes 0 to 7.
CLASSES = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")

FACTS = Facts(
    title="Extended Cohn-Kanade (CK+)",
    citation="P. Lucey, J. F. Cohn, T. Kanade, J. Saragih, Z. Ambadar, I. Matthews: The Extended Cohn-Kanade Dataset "
    "(CK+). CVPR Workshops 2010",
    licence="signed agreement, research only; only some people may be shown in print",
    source="the original is handed out at https://www.jeffcohn.net/resources/; CK+48 is a copy on Kaggle.",
    layouts=(
        "cohn-kanade-images/S005/001/*.png and Emotion/S005/001/*_emotion.txt",
        "CK+48/<emotion>/S010_004_00000017.png",
    ),
    classes=CLASSES,
    counts={
        "apex": {WHOLE: (0, 45, 18, 59, 25, 69, 28, 83)},
        "CK+48": {WHOLE: (0, 135, 54, 177, 75, 207, 84, 249)},
    },
    crop="original: the whole picture of 640 × 490 pixels; CK+48: face crops of 48 pixels",
    group="the person",
    cautions=("expressions are posed in a laboratory; splits must be by person.",),
)
_EXPECTED = "a CK+ download: " + "; or ".join(FACTS.layouts)
_PICTURES, _LABELS = "cohn-kanade-images", "Emotion"
_NAME = re.compile(r"(S\d{3})_(\d{3})_\d+", re.IGNORECASE)


def signature(root: Path | None, frames: int = 1, neutral: bool = False) -> str:
    """A cheap digest of what `read` would read."""
    place = _locate(root)
    labels = sorted((place / _LABELS).glob("*/*/*_emotion.txt"))  # 327 files, which are corrected in place
    return f"ck_plus-{_REVISION}-{frames}-{neutral}-{tree_digest(place, *labels)}"


def read(root: Path | None, frames: int = 1, neutral: bool = False) -> SampleTable:
    """The table of a CK+ download; the group is the person.

    Args:
        root: the download's folder, or one that holds it.
        frames: how many frames at the end of a labelled sequence show its expression. CK+48 always has three.
        neutral: whether the first frame of a labelled sequence is taken as neutral; without it there is no such class.

    Raises:
        ConfigError: neutral frames of CK+48, which has none.
        DataError: nothing there is CK+, or most of it is broken.
    """
    place = _locate(root)
    rows = Collector("ck_plus", CLASSES if neutral else CLASSES[1:], place)
    if _class_folders(place):
        if neutral:
            raise ConfigError(
                f"data.neutral: expected the original CK+, found CK+48 in {place}, which has no neutral frames. Set "
                "data.neutral=false."
            )
        _read_48(rows, place)
        return rows.table(place, CHANNELS, FACTS, form="CK+48", notes=("CK+48: three frames a sequence.",))
    _read_sequences(rows, place, frames, neutral)
    taken = f"the last {frames} frames" if frames > 1 else "the last frame"
    note = f"{taken} of each labelled sequence{' and its first as neutral' if neutral else ''}."
    return rows.table(
        place, CHANNELS, FACTS, form="apex" if frames == 1 and not neutral else "", notes=(note,)
    )


def _locate(root: Path | None) -> Path:
    place = locate(root, _EXPECTED, lambda folder: _original(folder) or _class_folders(folder), FACTS.source)
    if _original(place) and _class_folders(place):
        raise DataError(f"expected one form of CK+ in {place}, found both. Point data.root at one of them.")
    return place


def _original(folder: Path) -> bool:
    return (folder / _PICTURES).is_dir() and (folder / _LABELS).is_dir()


def _class_folders(folder: Path) -> bool:
    """Whether a folder is CK+48: at least two class folders, with CK+'s file names in them."""
    named = [below for below in subfolders(folder) if label_of(below.name, CLASSES) is not None]
    return len(named) >= 2 and any(_NAME.match(name) for below in named for name in file_names(below)[:1])


def _read_48(rows: Collector, place: Path) -> None:
    for folder in subfolders(place):
        label = label_of(folder.name, rows.classes)
        for name in file_names(folder):
            path, match = f"{folder.name}/{name}", _NAME.match(name)
            if label is None:
                rows.reject(path, "unknown label", f"the folder {folder.name!r} is no expression of CK+48")
            elif Path(name).suffix.lower() not in IMAGE_SUFFIXES:
                rows.reject(path, "not an image file", "unknown file name extension")
            elif not match:
                rows.reject(path, "no person", "names begin with S and the person's number")
            else:
                rows.add(Sample(name, label, path, group=match.group(1).upper()))


def _read_sequences(rows: Collector, place: Path, frames: int, neutral: bool) -> None:
    for person in subfolders(place / _PICTURES):
        for sequence in subfolders(person):
            where = f"{_PICTURES}/{person.name}/{sequence.name}"
            pictures = [name for name in file_names(sequence) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
            labelled = _sequence_label(rows, place / _LABELS / person.name / sequence.name, where)
            if labelled is None:
                continue
            label, apex = labelled
            if apex not in {Path(name).stem for name in pictures}:
                rows.reject(where, "missing file", f"the frame {apex}, which the label is of, is not there")
                continue
            if not pictures or (neutral and len(pictures) <= frames):
                rows.reject(where, "missing file", f"{len(pictures)} pictures in a labelled sequence")
                continue
            chosen = [(name, label) for name in pictures[-frames:]]
            if neutral:
                chosen.insert(0, (pictures[0], rows.classes.index("neutral")))
            for name, shown in chosen:
                rows.add(Sample(name, shown, f"{where}/{name}", group=person.name))


def _sequence_label(rows: Collector, folder: Path, where: str) -> tuple[int, str] | None:
    """The label of a sequence and the frame it is of; where it has none it is left out here."""
    files = [name for name in file_names(folder) if name.endswith("_emotion.txt")] if folder.is_dir() else []
    if not files:
        rows.leave_out(where, "sequence without a label", "266 of the 593 have none")
        return None
    lines = list(text_lines(folder / files[0]))
    code = whole_number(lines[0][1].strip()) if len(lines) == 1 and len(files) == 1 else None
    first = len(CLASSES) - len(rows.classes)
    if code is None or not first <= code < len(CLASSES):
        found = " ".join(line for _, line in lines)[:40]
        rows.reject(where, "unknown label", f"{files[0]} holds {found!r}, expected one code of {first} to 7")
        return None
    return code - first, files[0].removesuffix("_emotion.txt")
