"""AffectNet 2021 and AffectNet+: a few small files an image, read once and kept as one index.

A quarter of a million images have a million npy files, which take minutes to open. The index lies in the cache
folder under a digest of the tree, so that the second look at a download reads one file. A file that is changed in
place leaves that digest as it is; a new time of its folder doesn't.
"""

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emotion.atomic import replacing
from emotion.data.cache import default_cache_dir
from emotion.data.layout import (
    IMAGE_SUFFIXES,
    FilesBelow,
    part_folders,
    part_of,
    subfolders,
    tree_digest,
    walk,
)
from emotion.data.textrows import real_number, whole_number
from emotion.errors import DataError

_REVISION = 3
_CODES = 11
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "path": pl.String,
    "problem": pl.String,
    "detail": pl.String,
    "split": pl.String,
    "code": pl.Int64,
    "valence": pl.Float64,
    "arousal": pl.Float64,
    "soft": pl.List(pl.Float64),
    "subset": pl.Int64,
}

log = logging.getLogger(__name__)

Row = tuple[
    str,
    str | None,
    str | None,
    str | None,
    int | None,
    float | None,
    float | None,
    list[float] | None,
    int | None,
]


def annotation_suffixes(folder: Path) -> set[str]:
    """Which of .npy and .json lie in the annotation folders at `folder`; looks at a few names only."""
    if not folder.is_dir():
        return set()
    found: set[str] = set()
    for part in (folder, *(below for below in subfolders(folder) if part_of(below.name))):
        annotations = part / "annotations"
        if annotations.is_dir():
            found |= _some_suffixes(annotations, depth=2)
    return found & {".npy", ".json"}


def _some_suffixes(folder: Path, depth: int) -> set[str]:
    found: set[str] = set()
    for position, entry in enumerate(os.scandir(folder)):
        found.add(Path(entry.name).suffix.lower())
        if position == 1000:
            break
    if not found & {".npy", ".json"} and depth:
        for below in subfolders(folder):
            found |= _some_suffixes(below, depth - 1)
    return found


def index(place: Path, release: str) -> pl.DataFrame:
    """One row an annotation: path of its image below `place`, what is wrong (or null), split, code, valence, arousal,
    soft label and subset of AffectNet+.

    Args:
        release: "2021" or "plus".

    Raises:
        DataError: a folder with labels of 2021 is named after no part, or two are after one.
    """
    kept = default_cache_dir() / "indices" / f"affectnet-{release}-{_REVISION}-{tree_digest(place)}.parquet"
    try:
        return pl.read_parquet(kept, glob=False)
    except (OSError, pl.exceptions.PolarsError):
        pass
    rows = _rows_2021(place) if release == "2021" else _rows_plus(place)
    frame = pl.DataFrame(list(rows), schema=_SCHEMA, orient="row")
    try:
        with replacing(kept) as part:
            frame.write_parquet(part)
    except OSError as error:
        log.warning("The index of %s can't be kept in %s: %s.", place, kept.parent, error.strerror)
    return frame


def _rows_2021(place: Path) -> Iterator[Row]:
    files = FilesBelow(place)
    stems = {below.name: _labelled(files, f"{below.name}/annotations") for below in subfolders(place)}
    parts = part_folders(place, lambda below: bool(stems[below.name]))
    unknown = [name for name, labelled in stems.items() if labelled and not part_of(name)]
    if unknown:
        raise DataError(
            f"expected folders named after a part of AffectNet (train_set, val_set) in {place}, found labels in "
            f"{', '.join(unknown)} too. Rename or remove it."
        )
    for split, part in parts.items():
        for stem in stems[part.name]:
            path = f"{part.name}/images/{stem}.jpg"
            if stem + ".jpg" not in files.names(f"{part.name}/images"):
                yield _broken(path, "missing file", f"{stem}_exp.npy has no image")
                continue
            label = place / part.name / "annotations" / f"{stem}_exp.npy"
            code = whole_number(_scalar(label) or "")
            if code is None or not 0 <= code < _CODES:
                yield _broken(path, "unknown label", f"{label.name} holds {_scalar(label)!r}")
                continue
            measured = [
                _circumplex(_scalar(label.with_name(f"{stem}_{kind}.npy"))) for kind in ("val", "aro")
            ]
            yield path, None, None, split, code, measured[0], measured[1], None, None


def _labelled(files: FilesBelow, folder: str) -> list[str]:
    """The stems of the images that have a label, sorted."""
    names = files.names(folder)
    return sorted({name.removesuffix("_exp.npy") for name in names if name.endswith("_exp.npy")})


def _broken(path: str, problem: str, detail: str) -> Row:
    return path, problem, detail, None, None, None, None, None, None


def _scalar(path: Path) -> str | None:
    """What a 0-d npy holds, as text; None where it can't be read. Pickled objects are never loaded."""
    try:
        value = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except Exception:  # NumPy raises nearly everything when a file is corrupt
        return None
    if not isinstance(value, np.ndarray) or value.size != 1:
        return None
    item = value.reshape(-1)[0]
    return item.decode("ascii", "replace") if isinstance(item, bytes) else str(item)


def _circumplex(text: str | None) -> float | None:
    value = real_number(text) if text is not None else None
    return value if value is not None and -1 <= value <= 1 else None


def _rows_plus(place: Path) -> Iterator[Row]:
    stems: dict[str, dict[str, str]] = {}
    files = FilesBelow(place)
    for folder, names in walk(place):
        for name in names:
            if not name.endswith(".json") or "annotations" not in folder.split("/"):
                continue
            stem = name.removesuffix(".json")
            path = _image_of(files, stems, folder, stem)
            annotation = f"{folder}/{name}"
            if path is None:
                yield _broken(annotation, "missing file", f"no image {stem}.* beside it or below images/")
                continue
            yield _annotation(place / annotation, path, _split_of(folder))


def _image_of(files: FilesBelow, stems: dict[str, dict[str, str]], folder: str, stem: str) -> str | None:
    """The image of an annotation: beside it, in the folder images/ instead of annotations/, or right in images/."""
    parts = folder.split("/")
    at = len(parts) - 1 - parts[::-1].index("annotations")
    images = [*parts[:at], "images"]
    for place in dict.fromkeys((folder, "/".join([*images, *parts[at + 1 :]]), "/".join(images))):
        if place not in stems:
            known = files.names(place)
            stems[place] = {
                Path(n).stem: n for n in sorted(known) if Path(n).suffix.lower() in IMAGE_SUFFIXES
            }
        if stem in stems[place]:
            return f"{place}/{stems[place][stem]}"
    return None


def _split_of(folder: str) -> str | None:
    return next(filter(None, map(part_of, folder.split("/"))), None)


def _annotation(path: Path, image: str, split: str | None) -> Row:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return _broken(image, "broken annotation", f"{path.name}: {error}")
    if not isinstance(data, dict):
        return _broken(image, "broken annotation", f"{path.name} holds no object")
    fields = _lowered(data)
    code = whole_number(str(fields.get("human-label")))
    if code is None or not 0 <= code < _CODES:
        return _broken(
            image, "unknown label", f"{path.name}: Human-Label is {str(fields.get('human-label'))[:40]!r}"
        )
    metadata = fields.get("metadata", fields.get("meta-data"))
    measured = _lowered(metadata) if isinstance(metadata, dict) else {}
    soft = _shares(fields.get("soft-label"))
    valence, arousal = (_circumplex(str(measured.get(name))) for name in ("valence", "arousal"))
    subset = whole_number(str(fields.get("subset")))
    return image, None, None, split, code, valence, arousal, soft, subset


def _lowered(data: dict[str, Any]) -> dict[str, Any]:
    return {str(name).lower().replace("_", "-"): value for name, value in data.items()}


def _shares(values: Any) -> list[float] | None:
    numbers = [real_number(str(value)) for value in values] if isinstance(values, list) else [None]
    return [number for number in numbers if number is not None] if None not in numbers else None
