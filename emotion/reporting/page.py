"""What a report consists of: sections of blocks. The template knows how each block looks; nobody else does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from emotion.reporting.tables import Table


def row_shares(counts: np.ndarray) -> np.ndarray:
    """(K, K) counts as shares of their row; NaN in an empty row."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


@dataclass(frozen=True)
class Key:
    """An entry of a legend; `colour` names a CSS variable."""

    name: str
    colour: str
    dashed: bool = False
    square: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart with its caption, its legend and its numbers as a table."""

    title: str
    picture: Markup
    caption: str = ""
    legend: tuple[Key, ...] = ()
    data: Table | None = None
    kind: str = "chart"


@dataclass(frozen=True)
class Tile:
    """One headline number with its interval and what it is to be held against."""

    name: str
    value: str
    interval: str = ""
    note: str = ""
    picture: Markup | None = None


@dataclass(frozen=True)
class Tiles:
    tiles: tuple[Tile, ...]
    kind: str = "tiles"


@dataclass(frozen=True)
class Sheet:
    """A table on the page."""

    table: Table
    kind: str = "table"


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix that can be read as counts or as shares of each true class.

    Attributes:
        counts: (K, K) int; rows are the true classes.
    """

    name: str
    caption: str
    classes: tuple[str, ...]
    counts: np.ndarray
    kind: str = "matrix"

    @property
    def totals(self) -> list[int]:
        return [int(value) for value in self.counts.sum(axis=1)]

    @property
    def shares(self) -> np.ndarray:
        """(K, K); NaN in the row of a class without images."""
        return row_shares(self.counts)


@dataclass(frozen=True)
class Difference:
    """Confusion matrices of several runs, two of which are subtracted in the page.

    Attributes:
        runs: (name, (K, K) counts) each; the first two are what is shown at first.
    """

    name: str
    caption: str
    classes: tuple[str, ...]
    runs: tuple[tuple[str, np.ndarray], ...]
    kind: str = "difference"

    @property
    def data(self) -> list[dict[str, object]]:
        return [{"name": name, "counts": counts.tolist()} for name, counts in self.runs]

    @property
    def totals(self) -> list[int]:
        return [int(value) for value in self.runs[0][1].sum(axis=1)]

    @property
    def first_shares(self) -> np.ndarray:
        """(K, K): shares of each true class in the first run minus those in the second."""
        return row_shares(self.runs[0][1]) - row_shares(self.runs[1][1])


@dataclass(frozen=True)
class Face:
    """An image of a gallery: `picture` is its id in the album, None where the pixels can't be had."""

    picture: str | None
    sample: str
    label: str
    answer: str
    confidence: float
    label_probability: float
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    title: str
    faces: tuple[Face, ...]
    lead: str = ""
    kind: str = "gallery"


@dataclass(frozen=True)
class Shot:
    """An image among others: `picture` is its id in the album, None where the pixels can't be had."""

    picture: str | None
    sample: str
    text: str


@dataclass(frozen=True)
class Sets:
    """Images that belong together, side by side: (caption, images) each."""

    title: str
    sets: tuple[tuple[str, tuple[Shot, ...]], ...]
    lead: str = ""
    kind: str = "sets"


@dataclass(frozen=True)
class Picture:
    """A PNG of the run's figures/, embedded as it is."""

    title: str
    address: str
    alt: str
    caption: str = ""
    kind: str = "picture"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    facts: tuple[tuple[str, str], ...]
    kind: str = "facts"


@dataclass(frozen=True)
class Listing:
    """Text to be read letter by letter: configurations and commands."""

    title: str
    text: str
    kind: str = "listing"


@dataclass(frozen=True)
class Prose:
    text: str
    kind: str = "prose"


@dataclass(frozen=True)
class Note:
    """Something is missing or to be read with care; always visible."""

    text: str
    kind: str = "note"


@dataclass(frozen=True)
class Beside:
    """Blocks next to one another where the page is wide enough."""

    blocks: tuple[Block, ...]
    narrow: bool = False
    kind: str = "beside"


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them, by itself where a link goes to its `name`; printed open."""

    title: str
    blocks: tuple[Block, ...]
    name: str | None = None
    kind: str = "folded"


Block = (
    Chart
    | Tiles
    | Sheet
    | Matrix
    | Difference
    | Gallery
    | Sets
    | Picture
    | Facts
    | Listing
    | Prose
    | Note
    | Beside
    | Folded
)


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    lead: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        finding: the result in a sentence or two.
        faces: id → data URI of each picture that galleries refer to.
        source: where its numbers come from.
    """

    title: str
    kicker: str
    byline: tuple[str, ...]
    finding: str
    sections: tuple[Section, ...]
    faces: dict[str, str] = field(default_factory=dict)
    source: str = "Every number was computed from the runs’ prediction tables. Intervals are 95 % intervals."

    def tables(self) -> list[Table]:
        """The tables in the order of the page, those of charts left out."""
        return [block.table for block in _flat(self.blocks()) if isinstance(block, Sheet)]

    def blocks(self) -> list[Block]:
        return [block for section in self.sections for block in section.blocks]


def _flat(blocks: Sequence[Block]) -> list[Block]:
    found: list[Block] = []
    for block in blocks:
        found += _flat(block.blocks) if isinstance(block, Beside | Folded) else [block]
    return found
