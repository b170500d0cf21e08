"""Further images for training only, for instance generated faces of the rare classes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from emotion.data.images import ImageFiles
from emotion.data.layout import IMAGE_SUFFIXES, as_text, existing_folder, file_names, subfolders
from emotion.data.table import EXTRA, SampleTable, Source
from emotion.errors import DataError
from emotion.labels import label_of


def with_extra(table: SampleTable, folder: Path, channels: int) -> SampleTable:
    """The table and, marked as `extra`, the images in `folder/<expression>/`.

    Args:
        folder: holds one folder an expression, named as the table's classes or any of their known spellings.
        channels: of the data set's own images.

    Raises:
        DataError: there is no image, or a folder that is named after none of the table's classes.
    """
    found = []
    for place in subfolders(existing_folder(folder, "data.extra")):
        label = _label(place, table.classes)
        names = [name for name in file_names(place) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
        found += [(f"{place.name}/{name}", label) for name in names]
    named = [one for one in found if as_text(one[0]) == one[0]]
    unnamed, found = len(found) - len(named), named
    if not found:
        raise DataError(
            f"expected images in folders named after expressions in data.extra={folder}, found none. "
            "Put them there as <expression>/<name>.png, or leave data.extra out."
        )
    paths, labels = zip(*found, strict=True)
    rows = pl.DataFrame(
        {"id": [f"extra/{path}" for path in paths], "label": labels, "split": EXTRA, "group": None},
        schema_overrides={"label": pl.Int64, "group": pl.String},
    )
    if "target" in table.frame.columns:
        certain = np.eye(len(table.classes))[list(labels)]
        rows = rows.with_columns(target=pl.Series(certain.tolist(), dtype=table.frame.schema["target"]))
    note = f"{len(paths):,} extra images are for training only." + (
        f" {unnamed:,} more have names that are not valid UTF-8, and are left out." if unnamed else ""
    )
    return replace(
        table,
        frame=pl.concat([table.frame, rows], how="diagonal"),
        source=_Joined(table.source, len(table), ImageFiles(folder, paths, channels)),
        notes=(*table.notes, note),
    )


def _label(folder: Path, classes: tuple[str, ...]) -> int:
    label = label_of(folder.name, classes)
    if label is None:
        raise DataError(
            f"expected folders named after {', '.join(classes)} in data.extra, found {folder}. Rename or remove it."
        )
    return label


class _Joined:
    """Two sources, one after the other."""

    def __init__(self, first: Source, count: int, second: Source) -> None:
        self.first, self.count, self.second = first, count, second

    def read(self, index: int) -> np.ndarray:
        return self.first.read(index) if index < self.count else self.second.read(index - self.count)
