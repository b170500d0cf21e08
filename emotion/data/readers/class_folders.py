"""`data=folder`: any pictures in class folders, with or without split folders around them."""

from pathlib import Path

from emotion.data.collector import Collector, Sample
from emotion.data.facts import Facts
from emotion.data.layout import (
    IMAGE_SUFFIXES,
    as_text,
    file_names,
    folders_digest,
    holds_images,
    locate,
    part_folders,
    subfolders,
)
from emotion.data.table import SampleTable
from emotion.errors import DataError, LayoutError
from emotion.labels import EXPRESSIONS, expression

NATURAL_SIZE_PX = 96
CHANNELS = 3
_REVISION = "4"  # 3: a class needs a picture; 4: a caution

FACTS = Facts(
    title="Pictures in class folders",
    citation="none: these are your own pictures",
    licence="whatever their owner allows",
    source="a layout is <class>/*.jpg, or train/<class>/*.jpg beside val/… and test/….",
    layouts=("<class>/*.jpg", "{train,val,test}/<class>/*.jpg"),
    cautions=(
        "who is pictured isn't known: a person may be in several parts. Where people repeat, list the pictures in a "
        "table with a column of who it is (data=csv data.group=COLUMN).",
    ),
)
_EXPECTED = "pictures in class folders: <class>/*.jpg, or {train,val,test}/<class>/*.jpg"


def signature(root: Path | None) -> str:
    """A cheap digest of what `read` would read."""
    place = _locate(root)
    folders = [folder.relative_to(place).as_posix() for _, folder in _class_folders(place)]
    return f"folder-{_REVISION}-{folders_digest(place, folders)}"


def distinguish(root: Path) -> None:
    """
    Raises:
        LayoutError: it is a folder of pictures, but not of classes.
    """
    place = _locate(root)
    if len({folder.name for _, folder in _class_folders(place) if holds_images(folder)}) < 2:
        raise LayoutError(f"expected {_EXPECTED}; found fewer than two class folders in {place}.")


def read(root: Path | None) -> SampleTable:
    """The table of pictures in class folders.

    A class is an expression by any of its names where all folders are expressions, else it has its folder's name;
    letter case doesn't matter. A folder without a picture in any part is none.

    Args:
        root: the folder of the class folders or of the split folders, or one that holds it.

    Raises:
        DataError: there are no class folders with pictures, split folders and class folders lie side by side, or a
            class's name is no text.
    """
    place = _locate(root)
    folders = _class_folders(place)
    class_of, classes = _classes([folder for _, folder in folders if holds_images(folder)])
    if len(classes) < 2:
        raise DataError(f"expected at least two class folders in {place}, found only {classes[0]!r}.")
    rows = Collector("folder", classes, place)
    for split, folder in folders:
        below = folder.relative_to(place).as_posix()
        for inner in subfolders(folder):
            rows.reject(f"{below}/{inner.name}", "unexpected folder", "class folders hold images only")
        for name in file_names(folder):
            _add(rows, f"{below}/{name}", class_of.get(folder.name), split)
    return rows.table(place, CHANNELS, FACTS)


def _add(rows: Collector, path: str, label: int | None, split: str | None) -> None:
    if label is None or Path(path).suffix.lower() not in IMAGE_SUFFIXES:
        rows.reject(path, "not an image file", "unknown file name extension")
    else:
        rows.add(Sample(path, label, path, split=split))


def _locate(root: Path | None) -> Path:
    place = locate(root, _EXPECTED, lambda folder: bool(_splits(folder)), FACTS.source, several=_what_to_do)
    splits = _splits(place)
    beside = [
        below.name for below in subfolders(place) if below not in splits.values() and holds_images(below)
    ]
    if None not in splits and beside:
        raise DataError(
            f"expected split folders alone in {place}, found {', '.join(beside[:5])} beside "
            f"{', '.join(below.name for below in splits.values())}. If two data sets are mixed, move them apart."
        )
    return place


def _what_to_do(found: list[Path]) -> str:
    """What to do where several folders hold folders of pictures."""
    if all(expression(place.name) for place in found):  # <class>/<person>/*.jpg: persons aren't classes
        return (
            "Class folders hold the pictures themselves: move them up out of the folders in them, or list them in a "
            "table with a column of what belongs together (data=csv data.group=COLUMN)."
        )
    return "Point data.root at one of them."


def _class_folders(place: Path) -> list[tuple[str | None, Path]]:
    """What is read: all in split folders, else what has pictures; each with its split."""
    return [
        (split, folder)
        for split, part in _splits(place).items()
        for folder in subfolders(part)
        if split is not None or holds_images(folder)
    ]


def _splits(folder: Path) -> dict[str | None, Path]:
    """The folders that hold class folders: by their split, or by None the folder itself where it has no splits.

    Raises:
        DataError: two folders are one split.
    """
    parts = part_folders(folder, _holds_classes)
    return parts or ({None: folder} if _holds_classes(folder) else {})


def _holds_classes(folder: Path) -> bool:
    return any(holds_images(below) for below in subfolders(folder))


def _classes(folders: list[Path]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The label of each folder's name, and the classes.

    Raises:
        DataError: a name is no text.
    """
    names = [folder.name for folder in folders]
    for folder in folders:
        if as_text(folder.name) != folder.name:
            raise DataError(
                f"expected class folders with names in UTF-8, found {as_text(str(folder))}. Rename it."
            )
    meaning = {name: expression(name) for name in names}
    if all(meaning.values()):
        classes = tuple(name for name in EXPRESSIONS if name in meaning.values())
        return {name: classes.index(str(expression)) for name, expression in meaning.items()}, classes
    lowered = {name: name.strip().lower() for name in names}
    classes = tuple(sorted(set(lowered.values())))
    return {name: classes.index(low) for name, low in lowered.items()}, classes
