"""The sample table: what a reader makes of a data set on disk, and all that the store is prepared from."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import polars as pl

from emotion.errors import DataError

SPLITS = ("train", "val", "test")
EXTRA = "extra"  # instead of a split: for training only, whatever the split is
REQUIRED = {"id": pl.String, "label": pl.Int64, "split": pl.String, "group": pl.String}
OPTIONAL = ("x", "y", "width", "height")
MEASURED = ("valence", "arousal")
REJECTED = {"id": pl.String, "reason": pl.String, "detail": pl.String}


class Source(Protocol):
    """Where a table's images come from. Picklable, and safe to call from several threads."""

    def read(self, index: int) -> np.ndarray:
        """The image of the table's row `index`: uint8, (H, W) grey or (H, W, 3) RGB.

        Raises:
            DataError: the image is missing or can't be decoded; the text says why.
        """
        ...


def rejections(rows: Iterable[tuple[str, str, str]] = ()) -> pl.DataFrame:
    """A table of rejected rows (id, reason, detail); the reason is a short phrase that can be counted."""
    return pl.DataFrame(list(rows), schema=REJECTED, orient="row")


def rejected_line(rejected: pl.DataFrame, listed_in: Path) -> str:
    """What was left out of the data and why, with the first row of each reason."""
    reasons = rejected.group_by("reason", maintain_order=True).agg(pl.len(), pl.col("id", "detail").first())
    said = "; ".join(
        f"{n:,} {reason} (the first: {i}: {detail})" for reason, n, i, detail in reasons.iter_rows()
    )
    return f"Rows left out: {rejected.height:,}, of which {said}. All of them: {listed_in}"


@dataclass(frozen=True)
class SampleTable:
    """Every sample of a data set, its label and where it belongs; nothing has been decoded yet.

    Attributes:
        name: the data set's name, as configurations spell it.
        classes: canonical expression names in the set's native code order.
        frame: one row a sample. `id` (unique, independent of where the root is), `label` (index into
            `classes`), `split` ("train", "val", "test", or null in every row; "extra" where a row
            is), `group` (person, source
            image or sequence; may be null), and optionally a face box `x`, `y`, `width`, `height` in pixels
            of the source image, a soft label `target` (a list of one probability a class), and `valence` and
            `arousal` in [-1, 1] (may be null).
        source: reads the image that belongs to a row of `frame`.
        rejected: rows that were left out: id, reason, detail.
        notes: sentences that whoever reads a result from this data must know.
        official: whether `split` is the split that the data set was published with.
        target_use: what training makes of `target`: the `distribution` itself, or one label `sampled` from it
            each time an image is drawn.
    """

    name: str
    classes: tuple[str, ...]
    frame: pl.DataFrame
    source: Source
    rejected: pl.DataFrame = field(default_factory=rejections)
    notes: tuple[str, ...] = ()
    official: bool = False
    target_use: Literal["distribution", "sampled"] = "distribution"

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise DataError(f"the sample table of {self.name!r} is not usable: {problem}.")

    def __len__(self) -> int:
        return self.frame.height

    def _problem(self) -> str | None:
        frame = self.frame
        missing = [name for name in REQUIRED if name not in frame.columns]
        if missing:
            return f"expected the columns {', '.join(REQUIRED)}; missing: {', '.join(missing)}"
        wrong = [name for name, dtype in REQUIRED.items() if frame.schema[name] != dtype]
        if wrong:
            found = ", ".join(f"{name} {frame.schema[name]}, expected {REQUIRED[name]}" for name in wrong)
            return f"columns of another type: {found}"
        boxes = [name for name in OPTIONAL if name in frame.columns]
        if boxes and len(boxes) < len(OPTIONAL):
            return f"a face box needs x, y, width and height; found only {', '.join(boxes)}"
        if not self.classes or len(set(self.classes)) < len(self.classes):
            return f"class names must be given once each; found {self.classes}"
        if frame.height == 0:
            return "it has no samples" + self._rejected_summary()
        if frame["id"].null_count() or frame["id"].n_unique() < frame.height:
            twice = frame["id"].filter(frame["id"].is_duplicated()).head(3).to_list()
            return f"ids must be unique and not null; found more than once: {twice}"
        labels = frame["label"]
        if labels.null_count() or not labels.is_between(0, len(self.classes) - 1).all():
            return f"labels must lie in 0…{len(self.classes) - 1}; found {labels.min()!r}…{labels.max()!r}"
        own = frame["split"].filter(frame["split"].ne_missing(EXTRA))
        if own.null_count() not in (0, len(own)):
            return f"a split must be given for all samples or for none; {own.null_count()} of {len(own)} have none"
        unknown = set(own.drop_nulls().unique().to_list()) - set(SPLITS)
        if unknown:
            return f"splits are {', '.join(SPLITS)}; found {', '.join(sorted(unknown))}"
        if "target" in frame.columns and (problem := self._target_problem()):
            return problem
        if self.rejected.schema != pl.Schema(REJECTED):
            return f"rejected rows have the columns {', '.join(REJECTED)}; found {self.rejected.schema}"
        return None

    def _target_problem(self) -> str | None:
        target = self.frame["target"]
        if target.dtype != pl.List(pl.Float32):
            return f"target must be of type {pl.List(pl.Float32)}; found {target.dtype}"
        lengths = target.list.len()
        if target.null_count() or not (lengths == len(self.classes)).all():
            return f"a target has one probability for each of the {len(self.classes)} classes, in every row"
        values = target.explode()
        sums = target.list.sum()
        if values.null_count() or not (values.is_between(0, 1).all() and sums.is_between(0.999, 1.001).all()):
            return "the probabilities of a target must lie in [0, 1] and sum to 1"
        return None

    def _rejected_summary(self) -> str:
        counts = self.rejected["reason"].value_counts(sort=True)
        return "".join(f"; {n} rows rejected: {reason}" for reason, n in counts.iter_rows())
