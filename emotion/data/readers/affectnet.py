"""AffectNet in its three releases: 2017 (csv), 2021 (npy beside 224-px crops) and AffectNet+ (JSON, soft labels)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from emotion.data.collector import Collector, Sample
from emotion.data.facts import Facts
from emotion.data.layout import FilesBelow, locate, subfolders, tree_digest
from emotion.data.preparation import Box
from emotion.data.readers import affectnet_files
from emotion.data.table import SampleTable
from emotion.data.textrows import real_number, text_lines, whole_number
from emotion.errors import ConfigError, DataError, LayoutError
from emotion.labels import EXPRESSIONS

NATURAL_SIZE_PX = 224
CHANNELS = 3
_REVISION = "2"  # 2: the validation part is the test

# The codes 0 to 10 of every release.
CODES = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt", "none", "uncertain",
    "non-face",
)  # fmt: skip
_TRAIN = (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750)

FACTS = Facts(
    title="AffectNet",
    citation="A. Mollahosseini, B. Hasani, M. H. Mahoor: AffectNet: A Database for Facial Expression, Valence, and "
    "Arousal Computing in the Wild. IEEE Transactions on Affective Computing 10(1), 2019",
    licence="signed agreement, research only; nothing may be redistributed",
    source="it is handed out by its authors: http://mohammadmahoor.com/affectnet/.",
    layouts=(
        "2017: Manually_Annotated_file_lists/{training,validation}.csv and Manually_Annotated_Images/<int>/<file>",
        "2021: {train_set,val_set}/images/<int>.jpg and annotations/<int>_{exp,val,aro,lnd}.npy",
        "AffectNet+: human_annotated/{train_set,validation_set}/{images,annotations}; in general annotations/**/*.json "
        "with images beside them or under images/",
    ),
    classes=EXPRESSIONS,
    counts={
        "2017": {"train": _TRAIN, "test": (500,) * 8},
        "2021": {"train": _TRAIN, "test": (500,) * 7 + (499,)},
    },
    crop="2017: the face box of the list, x, y, width and height, not aligned; 2021: pictures are cropped already",
    group="the picture, which can hold several faces; people are not named",
    cautions=(
        "AffectNet has no public test part: in the official split its validation part is the test, as is common, and "
        "validation is taken from training.",
    ),
)
_EXPECTED = "an AffectNet download: " + "; or ".join(FACTS.layouts)

Variant = Literal[7, 8, 11]
SplitName = Literal["official", "pooled_random"]
Crop = Literal["face", "whole"]
Subset = Literal["easy", "challenging", "difficult"]
SUBSETS: tuple[Subset, ...] = ("easy", "challenging", "difficult")  # the codes 0 to 2 of AffectNet+

_LISTS = {"training.csv": "train", "validation.csv": "val"}
_UNLABELLED = "no_human_annotated"  # AffectNet+'s part without human labels
_LIST_FOLDERS = ("Manually_Annotated_file_lists", "Manually_Annotated/Manually_Annotated_file_lists", ".")
_IMAGE_FOLDERS = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", ".")
_COLUMNS = (
    "subdirectory_filepath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip
_USED = ("subdirectory_filepath", "expression", "valence", "arousal")
_BOX = ("face_x", "face_y", "face_width", "face_height")


def signature(
    root: Path | None,
    variant: Variant = 8,
    split: SplitName = "official",
    crop: Crop = "face",
    soft_labels: bool = False,
    subset: Sequence[Subset] | None = None,
) -> str:
    """A cheap digest of what `read` would read."""
    place = _locate(root)
    digest = tree_digest(place, *_lists(place).values())
    only = f"-{'-'.join(subset)}" if subset else ""
    return f"affectnet-{_REVISION}-{variant}-{split}-{crop}-{soft_labels}{only}-{digest}"


def distinguish(root: Path) -> None:
    """
    Raises:
        LayoutError: what lies there is called as the lists of 2017 are, but isn't one of them.
    """
    lists = _lists(_locate(root))
    if lists and not any(_is_list(path) for path in lists.values()):
        raise LayoutError(
            f"expected the columns {', '.join(_COLUMNS)} in {', '.join(map(str, lists.values()))}, found others."
        )


def read(
    root: Path | None,
    variant: Variant = 8,
    split: SplitName = "official",
    crop: Crop = "face",
    soft_labels: bool = False,
    subset: Sequence[Subset] | None = None,
) -> SampleTable:
    """The table of an AffectNet download, whichever release it is.

    A label that is changed inside an npy or JSON file is not noticed, as looking at each would take minutes: `touch`
    the folder of these files then, or delete the store and the index of them (`indices` in the cache folder). The
    lists of 2017 are looked at.

    Args:
        root: the download's folder, or one that holds it.
        variant: 8 classes, 7 (without contempt, in both parts) or all 11 codes.
        split: `pooled_random` leaves the split to the caller, pools both parts and takes *.jpg only, as Ayerdi and
            Bucknell (2018) did.
        crop: the face box of the 2017 release, or the whole picture.
        soft_labels: AffectNet+ only: its distributions become the targets.
        subset: AffectNet+ only: the subsets to take, of both parts; None: all images.

    Raises:
        ConfigError: soft labels or subsets of a release or variant that has none.
        DataError: nothing there is AffectNet, two releases are mixed, or most of it is broken.
    """
    place = _locate(root)
    release = _releases(place)[0]
    if soft_labels and (release != "plus" or variant == 11):
        raise ConfigError(
            f"data.soft_labels: expected AffectNet+ with variant 7 or 8, found the release {release} in {place} with "
            f"variant {variant}. Set data.soft_labels=false, or point data.root at AffectNet+."
        )
    if subset and release != "plus":
        raise ConfigError(
            f"data.subset: expected AffectNet+, found the release {release} in {place}, which has no subsets. Set "
            "data.subset=null, or point data.root at AffectNet+."
        )
    rows = Collector("affectnet", CODES[:variant], place)
    if release == "2017":
        images = _read_2017(rows, place, crop)
    else:
        images = place
        _read_small_files(rows, place, release, soft_labels, subset)
    notes: list[str] = []
    official = split == "official" and _tests_on_validation(rows)
    if split == "pooled_random":
        _pool(rows)
        notes.append(
            "not the official split: both parts are pooled and split at random (split=pooled_random). Scores on it "
            "can't be compared with those on the official split."
        )
    elif not official:
        notes.append(
            "not the official split: this copy has a test part, and AffectNet was published without one. Scores on it "
            "can't be compared with published ones."
        )
    if subset:
        notes.append(f"of AffectNet+ only what it calls {' or '.join(subset)}, in every part.")
    table = rows.table(
        images,
        CHANNELS,
        FACTS,
        form=release if split == "official" else "",
        notes=tuple(notes),
        official=official,
    )
    named = f"AffectNet-{variant}, release {release}: name both, and the number of training images, with every result."
    return replace(table, notes=(named, *table.notes))


def _locate(root: Path | None) -> Path:
    place = locate(
        root,
        _EXPECTED,
        lambda folder: folder.name.lower() != _UNLABELLED and bool(_releases(folder)),
        FACTS.source,
    )
    releases = _releases(place)
    if len(releases) > 1:
        raise DataError(
            f"expected one release of AffectNet in {place}, found the releases {' and '.join(releases)} mixed. Move "
            "them into folders of their own and point data.root at one: their images don't join."
        )
    return place


def _releases(folder: Path) -> list[str]:
    """Which releases a folder holds: 2017, 2021, plus."""
    found = ["2017"] if _lists(folder) else []
    suffixes = affectnet_files.annotation_suffixes(folder)
    return found + (["2021"] if ".npy" in suffixes else []) + (["plus"] if ".json" in suffixes else [])


def _lists(folder: Path) -> dict[str, Path]:
    """The csv of each part, where there is one."""
    for below in _LIST_FOLDERS:
        lists = {
            part: folder / below / name for name, part in _LISTS.items() if (folder / below / name).is_file()
        }
        if lists:
            return lists
    return {}


def _is_list(path: Path) -> bool:
    """Whether the first row is the header of a list of 2017, or has as many cells."""
    _, line = next(text_lines(path), (0, ""))
    cells = line.split(",")
    return _names(cells)[0] == _COLUMNS[0] or len(cells) == len(_COLUMNS)


def _names(cells: list[str]) -> tuple[str, ...]:
    """The cells of a header as `_COLUMNS` spells them."""
    return tuple(cell.strip().strip('"').lower() for cell in cells)


def _image_folder(place: Path) -> Path:
    for below in _IMAGE_FOLDERS[:-1]:
        if (place / below).is_dir():
            return place / below
    if not any(folder.name.isdigit() for folder in subfolders(place)):
        raise DataError(
            f"expected the images of AffectNet in {place}/Manually_Annotated_Images/<int>/, found only the lists. "
            "Unpack the images beside them."
        )
    return place


class _Face(NamedTuple):
    """A row of a 2017 list whose picture is there and whose code is known."""

    path: str
    code: int
    part: str
    box: Box | None
    valence: float | None
    arousal: float | None


def _read_2017(rows: Collector, place: Path, crop: Crop) -> Path:
    """Fill `rows`; returns the folder of the images."""
    images = _image_folder(place)
    files = FilesBelow(images)
    faces: list[_Face] = []
    first_box: dict[str, Box | None] = {}
    several: set[str] = set()  # pictures listed with more than one box
    for part, path in _lists(place).items():
        for number, cells in _rows_2017(path):
            face = _face(rows, files, f"{path.name}:{number}", cells, part, crop)
            if face is not None:
                faces.append(face)
                if first_box.setdefault(face.path, face.box) != face.box:
                    several.add(face.path)
    for face in faces:
        # A picture's own name where it holds one face: ids don't depend on the order of rows.
        suffix = ""
        if face.path in several and face.box:
            suffix = "#" + ",".join(f"{value:g}" for value in face.box)
        _add_code(
            rows,
            face.code,
            Sample(
                face.path + suffix,
                face.code,
                face.path,
                split=face.part,
                group=face.path,
                box=face.box,
                valence=face.valence,
                arousal=face.arousal,
            ),
        )
    return images


def _rows_2017(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column; none where a row has another number of cells. Some copies have no header."""
    columns: tuple[str, ...] = _COLUMNS
    wanted = {*_USED, *_BOX}
    first = True
    for number, line in text_lines(path):
        cells = line.split(",")
        if first:
            first = False
            names = _names(cells)
            if names[0] == _COLUMNS[0]:
                missing = [name for name in _COLUMNS if name in wanted and name not in names]
                if missing:
                    raise DataError(
                        f"expected the columns {', '.join(_COLUMNS)} in {path}; missing: {', '.join(missing)}. "
                        "Download the list again."
                    )
                columns = names
                continue
        if len(cells) != len(columns):
            yield number, {}
        else:
            yield number, {name: c.strip() for name, c in zip(columns, cells, strict=True) if name in wanted}


def _face(
    rows: Collector, files: FilesBelow, where: str, cells: dict[str, str], part: str, crop: Crop
) -> _Face | None:
    if not cells:
        rows.reject(where, "broken row", f"expected {len(_COLUMNS)} cells")
        return None
    path = cells["subdirectory_filepath"].strip('"')
    code = whole_number(cells["expression"])
    if code is None or not 0 <= code < len(CODES):
        rows.reject(path or where, "unknown label", f"{where}: expression is {cells['expression']!r}")
        return None
    problem = files.problem(path)
    if problem:
        rows.reject(path or where, problem[0], f"{where}: {problem[1]}")
        return None
    box: Box | None = None
    if crop == "face":
        x, y, width, height = (real_number(cells[name]) for name in _BOX)
        if x is None or y is None or width is None or height is None:
            rows.reject(path, "broken row", f"{where}: the face box is not four numbers")
            return None
        if width <= 0 or height <= 0 or x + width <= 0 or y + height <= 0:
            rows.reject(path, "no face box", f"{where}: face box {x:g}, {y:g}, {width:g} × {height:g}")
            return None
        box = (x, y, width, height)
    return _Face(path, code, part, box, _circumplex(cells["valence"]), _circumplex(cells["arousal"]))


def _circumplex(text: str) -> float | None:
    """Valence or arousal in [-1, 1]; -2 means that it is missing."""
    value = real_number(text)
    return value if value is not None and -1 <= value <= 1 else None


def _read_small_files(
    rows: Collector, place: Path, release: str, soft_labels: bool, subset: Sequence[Subset] | None
) -> None:
    """Fill `rows` from the index of the npy or JSON files."""
    index: pl.DataFrame = affectnet_files.index(place, release)
    wanted = {SUBSETS.index(name) for name in subset or ()}
    for path, problem, detail, split, code, valence, arousal, soft, own in index.iter_rows():
        if problem:
            rows.reject(path, problem, detail)
            continue
        if wanted and own not in range(len(SUBSETS)):
            rows.reject(path, "unknown subset", f"Subset is {own}, expected 0, 1 or 2")
            continue
        if wanted and own not in wanted:
            rows.leave_out(path, "subset not chosen", SUBSETS[own])
            continue
        target = None
        if soft_labels:
            target = _normalised(soft, len(rows.classes))
            if target is None:
                rows.reject(path, "broken soft label", f"Soft-Label is {soft}, expected 8 shares")
                continue
        _add_code(
            rows,
            code,
            Sample(
                path, code, path, split=split, group=path, target=target, valence=valence, arousal=arousal
            ),
        )


def _normalised(soft: list[float] | None, classes: int) -> list[float] | None:
    """The first `classes` shares so that they sum to 1; None where they are no distribution."""
    if soft is None or len(soft) != len(EXPRESSIONS) or min(soft) < 0 or sum(soft[:classes]) <= 0:
        return None
    kept = soft[:classes]
    return [share / sum(kept) for share in kept]


def _add_code(rows: Collector, code: int, sample: Sample) -> None:
    if code < len(rows.classes):
        rows.add(sample)
    else:
        rows.leave_out(sample.id, f"not in AffectNet-{len(rows.classes)}", f"its label is {CODES[code]}")


def _tests_on_validation(rows: Collector) -> bool:
    """Make the validation part the test, as the literature does; false where a copy has a test part of its own."""
    if any(sample.split == "test" for sample in rows.samples):
        return False
    rows.samples = [s._replace(split="test") if s.split == "val" else s for s in rows.samples]
    return True


def _pool(rows: Collector) -> None:
    """Forget the parts, and leave out what is not named *.jpg."""
    pooled, rows.samples = rows.samples, []
    for sample in pooled:
        if sample.path.endswith(".jpg"):
            rows.add(sample._replace(split=None))
        else:
            rows.leave_out(sample.id, "not *.jpg", "split=pooled_random takes *.jpg only")
