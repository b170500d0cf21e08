"""Study C's protocol, kept for comparison: classes are filled up with changed copies before the data is split.

Copies of one photograph then lie in training and in test, so its scores say nothing about new faces. The honest way is
`sampling=oversample sampling.augmented=copies`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from PIL import Image

from emotion.data.table import SampleTable, Source
from emotion.errors import DataError

# 1 shifted by shares of the whole image, whatever was cut out of it afterwards; 2 took data with face boxes
REVISION = "3"
COPY = "#copy"  # in the ids of copies
_ROTATE_DEG, _SHIFT, _ZOOM = 15.0, 0.1, 0.1


def original(sample_id: pl.Expr) -> pl.Expr:
    """The id of the image that a copy was made of; of other images their own."""
    return sample_id.str.replace(rf"{COPY}\d+$", "")


def with_copies(table: SampleTable, crop_px: int | None = None) -> SampleTable:
    """The table with changed copies until every class has as many images as the commonest, in no split.

    The report doesn't say how its copies were changed; here they are turned by ±15°, shifted by ±10 %, zoomed by
    ±10 % and mirrored with probability ½. A copy's id is its original's with `#copy` and a number, and its group the
    original's, or the original itself where the data has no groups.

    Args:
        crop_px: what the preparation will cut out of the centre. Shifts are shares of it, so that a copy shows about
            what its original does.

    Raises:
        DataError: the data has face boxes.
    """
    if "x" in table.frame.columns:
        raise DataError(
            f"data.protocol=leaky: expected pictures that are cropped already, found face boxes in {table.name}: a "
            "copy is the whole picture turned and shifted, in which its face lies elsewhere. Use data without boxes "
            "(affectnet: data.crop=whole; csv: no data.box), or sampling=oversample sampling.augmented=copies."
        )
    frame = table.frame.with_columns(
        split=pl.lit(None, pl.String), group=pl.col("group").fill_null(pl.col("id"))
    )
    labels, ids = frame["label"].to_numpy(), frame["id"].to_numpy()
    largest = int(np.bincount(labels).max())
    originals, numbers = [], []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(ids[rows])]
        lacking = np.arange(largest - len(rows))
        originals.append(rows[lacking % len(rows)])
        numbers.append(1 + lacking // len(rows))
    original, number = np.concatenate(originals), np.concatenate(numbers)
    copy_ids = [f"{ids[row]}{COPY}{n:04d}" for row, n in zip(original, number, strict=True)]
    copies = frame[original].with_columns(id=pl.Series(copy_ids))
    note = (
        f"Leaky protocol (data.protocol=leaky): {len(original):,} changed copies were added before the split, so test "
        "images have copies of themselves in training. Scores say nothing about new faces."
    )
    return replace(
        table,
        frame=pl.concat([frame, copies]),
        source=_Copies(table.source, len(table), original, copy_ids, crop_px),
        notes=(*table.notes, note),
        official=False,
    )


class _Copies:
    """A source of images and of changed copies of some of them."""

    def __init__(
        self, source: Source, count: int, original: np.ndarray, ids: Sequence[str], crop_px: int | None
    ) -> None:
        self.source, self.count, self.original, self.ids = source, count, original, ids
        self.crop_px = crop_px

    def read(self, index: int) -> np.ndarray:
        if index < self.count:
            return self.source.read(index)
        copy = index - self.count
        seed = hashlib.blake2b(self.ids[copy].encode(), digest_size=8).digest()
        image = self.source.read(int(self.original[copy]))
        return changed(image, np.random.default_rng(int.from_bytes(seed, "little")), self.crop_px)


def changed(image: np.ndarray, rng: np.random.Generator, crop_px: int | None = None) -> np.ndarray:
    """An image (H, W[, 3]) uint8 turned, shifted, zoomed and perhaps mirrored; black where nothing was."""
    height, width = image.shape[:2]
    seen = np.minimum((width, height), crop_px or max(width, height))
    angle = np.deg2rad(rng.uniform(-_ROTATE_DEG, _ROTATE_DEG))
    zoom = 1 / rng.uniform(1 - _ZOOM, 1 + _ZOOM)
    shift = rng.uniform(-_SHIFT, _SHIFT, 2) * seen
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    # from a pixel of the copy, measured from the centre, to one of the original
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * (mirror, 1.0)
    centre = np.array([width, height]) / 2
    offset = centre + shift - turn @ centre
    matrix = (*turn[0], offset[0], *turn[1], offset[1])
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(
        picture.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    )
