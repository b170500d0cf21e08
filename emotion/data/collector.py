"""Rows on their way from a label file to a sample table: each ends as a sample or as a counted rejection."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import polars as pl

from emotion.data.facts import Facts, count_notes
from emotion.data.images import ImageFiles
from emotion.data.layout import as_text
from emotion.data.preparation import Box
from emotion.data.table import OPTIONAL, SampleTable, rejections
from emotion.errors import DataError

MAX_BAD_SHARE = 0.5


class Sample(NamedTuple):
    """A row that can be used. `path` is relative to the folder that the table's images are read from."""

    id: str
    label: int
    path: str
    split: str | None = None
    group: str | None = None
    box: Box | None = None
    target: list[float] | None = None
    valence: float | None = None
    arousal: float | None = None


class Collector:
    """Gathers the samples of a data set, and the rows that are left out with their reason.

    Args:
        name: the data set's name, as configurations spell it.
        classes: what the labels mean.
        place: what is being read, for messages.
        max_bad: the share of rows that may be broken.
    """

    def __init__(
        self, name: str, classes: tuple[str, ...], place: Path, max_bad: float = MAX_BAD_SHARE
    ) -> None:
        self.name = name
        self.classes = classes
        self.place = place
        self.max_bad = max_bad
        self.samples: list[Sample] = []
        self.rejected: list[tuple[str, str, str]] = []
        self._by_choice = 0

    def add(self, sample: Sample) -> None:
        if as_text(sample.path) == sample.path:
            self.samples.append(sample)
        else:
            self.reject(sample.path, "file name is not text", "rename it: it is not valid UTF-8")

    def reject(self, sample_id: str, reason: str, detail: str) -> None:
        """Leave a row out because something is wrong with it."""
        self.rejected.append((as_text(sample_id), reason, as_text(detail)))

    def leave_out(self, sample_id: str, reason: str, detail: str) -> None:
        """Leave a row out because nobody needs it: it doesn't count as broken."""
        self.reject(sample_id, reason, detail)
        self._by_choice += 1

    def table(
        self,
        images: Path,
        channels: int,
        facts: Facts,
        form: str = "",
        notes: tuple[str, ...] = (),
        official: bool = False,
    ) -> SampleTable:
        """The table of what was gathered, each id once.

        Args:
            images: the folder that the samples' paths are relative to.
            form: which of `facts.counts` the table should have.

        Raises:
            DataError: nothing is left, or too many of the rows are broken.
        """
        kept = self._one_row_an_id()
        bad = len(self.rejected) - self._by_choice
        if not kept or bad > self.max_bad * (len(kept) + bad):
            raise DataError(self._too_many(len(kept) + bad, bad))
        nowhere = sum(sample.split is None for sample in kept)
        if nowhere:  # a form that names only some parts names none
            kept = [sample._replace(split=None) for sample in kept]
            official = False
        if 0 < nowhere < len(kept):
            notes = (
                *notes,
                f"not the official split: {nowhere:,} of {len(kept):,} images are in no known part, so that all are "
                "split by us.",
            )
        frame = _frame(kept)
        counted = count_notes(facts, form, frame, self.classes, len(self.rejected))
        return SampleTable(
            name=self.name,
            classes=self.classes,
            frame=frame,
            source=ImageFiles(images, [sample.path for sample in kept], channels),
            rejected=rejections(self.rejected),
            notes=(*facts.cautions, *notes, *counted),
            official=official,
        )

    def _one_row_an_id(self) -> list[Sample]:
        """Each id once: a second listing is left out, an id listed with two labels altogether."""
        labels: dict[str, int] = {}
        contradictory: set[str] = set()
        for sample in self.samples:
            if labels.setdefault(sample.id, sample.label) != sample.label:
                contradictory.add(sample.id)
        kept: list[Sample] = []
        seen: set[str] = set()
        for sample in self.samples:
            if sample.id in contradictory:
                name = self.classes[sample.label]
                self.reject(sample.id, "contradictory labels", f"{name}, one of several labels")
            elif sample.id in seen:
                self.leave_out(sample.id, "listed twice", "listed before with the same label")
            else:
                seen.add(sample.id)
                kept.append(sample)
        return kept

    def _too_many(self, total: int, bad: int) -> str:
        counts = Counter(reason for _, reason, _ in self.rejected)
        summary = ", ".join(f"{n:,} × {reason}" for reason, n in counts.most_common(6))
        if not self.rejected:
            return f"expected images in {self.place}, found none. Complete the download."
        first = self.rejected[0]
        return (
            f"expected {self.name} in {self.place}; {bad:,} of {total:,} rows can't be used, or none is left: "
            f"{summary}. The first: {first[0]}: {first[2]}. Complete the download, or correct data.root."
        )


def _frame(samples: list[Sample]) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {
        "id": pl.Series([s.id for s in samples], dtype=pl.String),
        "label": pl.Series([s.label for s in samples], dtype=pl.Int64),
        "split": pl.Series([s.split for s in samples], dtype=pl.String),
        "group": pl.Series([s.group for s in samples], dtype=pl.String),
    }
    if any(sample.box is not None for sample in samples):
        for position, name in enumerate(OPTIONAL):
            values = [sample.box[position] if sample.box else None for sample in samples]
            columns[name] = pl.Series(values, dtype=pl.Float64)
    if any(sample.target is not None for sample in samples):
        columns["target"] = pl.Series([sample.target for sample in samples], dtype=pl.List(pl.Float32))
    for name in ("valence", "arousal"):
        values = [getattr(sample, name) for sample in samples]
        if any(value is not None for value in values):
            columns[name] = pl.Series(values, dtype=pl.Float32)
    return pl.DataFrame(columns)
