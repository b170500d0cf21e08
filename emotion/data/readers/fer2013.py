"""FER2013: 35,887 grey 48×48 faces (Goodfellow et al. 2013), as folders of jpgs or as one of its csv files.

Folders: `train/<emotion>/Training_<id>.jpg` and `test/<emotion>/{PublicTest,PrivateTest}_<id>.jpg`, or with
a folder for each of the three parts. The file name tells the official part, whatever folder the file lies
in.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from PIL import Image

from emotion.data.images import ImageFiles
from emotion.data.layout import (
    IMAGE_SUFFIXES,
    as_text,
    existing_root,
    file_names,
    folders_digest,
    holds_images,
    locate,
    part_folders,
    subfolders,
    tree_digest,
)
from emotion.data.readers import fer2013_csv
from emotion.data.readers.fer2013_facts import CLASSES, FACTS, USAGE, class_of, describe_parts
from emotion.data.table import SampleTable, rejections
from emotion.errors import DataError, LayoutError

__all__ = ["CHANNELS", "FACTS", "NATURAL_SIZE_PX", "distinguish", "read", "signature"]

NATURAL_SIZE_PX = 48
CHANNELS = 1
_REVISION = "2"  # raised when the same files give another table, so that stores made before are not used

_EXPECTED = (
    "a FER2013 download: fer2013.csv, icml_face_data.csv or train.csv, or folders train/<emotion>/*.jpg and "
    "test/<emotion>/*.jpg (angry, disgust, fear, happy, neutral, sad, surprise)"
)


def signature(root: Path | None) -> str:
    """A cheap digest of what `read` would read."""
    place = _locate(root)
    if place.is_file():
        return f"fer2013-{_REVISION}-{tree_digest(place)}"
    folders = [folder.relative_to(place).as_posix() for _, folder in _class_folders(place)]
    return f"fer2013-{_REVISION}-{folders_digest(place, folders)}"


def distinguish(root: Path) -> None:
    """
    Raises:
        LayoutError: what lies there could be read, but is somebody's csv or class folders rather than FER2013.
    """
    place = _locate(root)
    if place.is_file():
        fer2013_csv.distinguish(place)
        return
    folders = [folder for _, folder in _class_folders(place)]
    pictures = [
        folder / name
        for folder in folders
        for name in file_names(folder)
        if Path(name).suffix.lower() in IMAGE_SUFFIXES
    ]
    if any(_named_split(picture.name) for picture in pictures[:1]):
        return
    classes = {class_of(folder.name) for folder in folders}
    if classes != set(range(len(CLASSES))):
        raise LayoutError(
            f"expected the seven classes of FER2013 in {place}, found {', '.join(f.name for f in folders)}."
        )
    if pictures and not _is_small_and_grey(pictures[0]):
        raise LayoutError(
            f"expected grey pictures of {NATURAL_SIZE_PX} × {NATURAL_SIZE_PX} pixels, found {pictures[0]}."
        )


def _is_small_and_grey(picture: Path) -> bool:
    try:
        with Image.open(picture) as opened:  # reads the head alone
            return opened.size == (NATURAL_SIZE_PX, NATURAL_SIZE_PX) and opened.mode == "L"
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def read(root: Path | None) -> SampleTable:
    """The table of a FER2013 download.

    Args:
        root: the download: its folder, a folder that holds it, or the csv file.

    Raises:
        DataError: nothing there is FER2013, or too much of it is broken; the text says what was looked for.
    """
    place = _locate(root)
    return fer2013_csv.read(place) if place.is_file() else _read_folders(place)


def _locate(root: Path | None) -> Path:
    """The csv file, or the folder that holds the class folders or the split folders."""
    path = existing_root(root, _EXPECTED)
    if path.is_file():
        if path.suffix.lower() != ".csv":
            raise LayoutError(
                f"expected {_EXPECTED}; {path} is a file. If it is an archive, unpack it first."
            )
        return path
    place = locate(
        path, _EXPECTED, lambda folder: bool(_csv_file(folder) or _split_folders(folder)), FACTS.source
    )
    return _csv_file(place) or place


def _csv_file(folder: Path) -> Path | None:
    for name in fer2013_csv.FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    return None


def _split_folders(folder: Path) -> dict[str | None, Path]:
    """The folders that hold class folders: by their split, or by None the folder itself where it has no splits.

    Raises:
        DataError: two folders are one split.
    """
    if sum(class_of(below.name) is not None for below in subfolders(folder)) >= 2:
        return {None: folder}
    return part_folders(
        folder, lambda part: any(class_of(inner.name) is not None for inner in subfolders(part))
    )


def _class_folders(place: Path) -> list[tuple[str | None, Path]]:
    """What is read, each with its split: all in split folders, else the classes and what has pictures."""
    return [
        (split, folder)
        for split, part in _split_folders(place).items()
        for folder in subfolders(part)
        if split is not None or class_of(folder.name) is not None or holds_images(folder)
    ]


@dataclass
class _Found:
    """Files as the walk through the class folders finds them."""

    paths: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    folder_splits: list[str | None] = field(default_factory=list)
    name_splits: list[str | None] = field(default_factory=list)
    rejected: list[tuple[str, str, str]] = field(default_factory=list)


def _read_folders(place: Path) -> SampleTable:
    found = _Found()
    parts = _split_folders(place)
    for split, folder in _class_folders(place):
        _read_class(found, place, folder, split)
    _require_every_class(found, place)
    splits, official, notes = _official(found)
    beside = [below.name for below in subfolders(place) if None not in parts and below not in parts.values()]
    if beside:
        notes.append(
            f"folders beside {', '.join(f.name for f in parts.values())} are not read: {as_text(', '.join(beside))}."
        )
    frame = pl.DataFrame(
        {"id": found.paths, "label": found.labels, "split": splits, "group": None},
        schema={"id": pl.String, "label": pl.Int64, "split": pl.String, "group": pl.String},
    )
    if official:
        kept = frame["split"].is_not_null()
        stray = frame.filter(~kept)["id"].to_list()
        found.rejected += [
            (
                path,
                "no official part",
                "other file names begin with Training_, PublicTest_ or PrivateTest_, this one doesn't",
            )
            for path in stray
        ]
        frame = frame.filter(kept)
    counted, official = describe_parts(frame, official, len(found.rejected))
    return SampleTable(
        name="fer2013",
        classes=CLASSES,
        frame=frame,
        source=ImageFiles(place, frame["id"].to_list(), CHANNELS),
        rejected=rejections(found.rejected),
        notes=(*notes, *counted),
        official=official,
    )


def _read_class(found: _Found, place: Path, folder: Path, split: str | None) -> None:
    label = class_of(folder.name)
    below = folder.relative_to(place).as_posix()
    for inner in subfolders(folder):
        found.rejected.append(
            (as_text(f"{below}/{inner.name}"), "unexpected folder", "class folders hold images only")
        )
    for name in file_names(folder):
        path = f"{below}/{name}"
        if as_text(path) != path:
            found.rejected.append(
                (as_text(path), "file name is not text", "rename it: it is not valid UTF-8")
            )
        elif label is None:
            known = ", ".join(CLASSES)
            detail = f"the class folder {folder.name!r} is none of FER2013's seven: {known}"
            found.rejected.append((path, f"unknown class folder {folder.name!r}", detail))
        elif Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            found.rejected.append((path, "not an image file", "unknown file name extension"))
        else:
            found.paths.append(path)
            found.labels.append(label)
            found.folder_splits.append(split)
            found.name_splits.append(_named_split(name))


def _named_split(name: str) -> str | None:
    return USAGE.get(name.split("_")[0].lower())


def _require_every_class(found: _Found, place: Path) -> None:
    if not found.paths:
        raise DataError(
            f"expected images in the class folders of {place}, found none. The download or its unpacking was "
            "cut short: do it again."
        )
    unknown = Counter(reason for _, reason, _ in found.rejected if reason.startswith("unknown class"))
    beside = f"; found instead {', '.join(unknown)}" if unknown else ""
    for split in dict.fromkeys(found.folder_splits):
        here = {label for label, s in zip(found.labels, found.folder_splits, strict=True) if s == split}
        absent = [name for label, name in enumerate(CLASSES) if label not in here]
        if absent and unknown:
            raise DataError(
                f"expected images of all seven FER2013 classes in the part {split or 'train'} of {place}; none of "
                f"{', '.join(absent)}{beside}. Rename the folders or complete the download."
            )
    missing = sorted(set(range(len(CLASSES))) - set(found.labels))
    if missing:
        raise DataError(
            f"expected images of all seven FER2013 classes in {place}; none of "
            f"{', '.join(CLASSES[label] for label in missing)}{beside}. Rename the folders or complete the "
            "download."
        )


def _official(found: _Found) -> tuple[list[str | None], bool, list[str]]:
    """The split of each file, whether it is the official one, and what is to be told about it."""
    named = sum(split is not None for split in found.name_splits)
    if named < len(found.paths) / 2:
        return found.folder_splits, False, []
    moved = sum(
        by_name is not None
        and folder is not None
        and by_name != folder
        and (by_name, folder) != ("val", "test")
        for by_name, folder in zip(found.name_splits, found.folder_splits, strict=True)
    )
    notes = (
        [
            f"{moved:,} images lie in the folder of another part than their official one, which their file "
            "name tells; the official one is used."
        ]
        if moved
        else []
    )
    return found.name_splits, True, notes
