"""Which contenders can't be told apart, from paired tests on the images that all of them were judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from emotion.errors import EmotionError
from emotion.evaluation.comparison import compare
from emotion.reporting import numbers
from emotion.reporting.contenders import Contender
from emotion.reporting.evidence import Evidence
from emotion.reporting.tables import Cell, Column, Table

ALL_PAIRS = 6  # of more contenders, only the pairs with the first one are shown
RESAMPLES = 2000


@dataclass(frozen=True)
class Standing:
    """What the paired tests say.

    Attributes:
        alike: the contenders that were judged by the same images as the first one, best first.
        letters: contender name → the letters of its groups; those that share one can't be told apart.
        sentence: the same in plain words; empty where there is nothing to compare.
        pairs: the tests themselves.
        notes: what could not be compared.
    """

    alike: tuple[Contender, ...] = ()
    letters: dict[str, str] = field(default_factory=dict)
    sentence: str = ""
    pairs: Table | None = None
    notes: tuple[str, ...] = ()


def standing(found: Sequence[Contender]) -> Standing:
    """The standing of contenders that are ordered by their score."""
    scored = [contender for contender in found if contender.validation is not None]
    if not scored:
        return Standing()
    first = _evidence(scored[0])
    alike = tuple(contender for contender in scored if same_images(first, _evidence(contender)))
    others = [contender.name for contender in scored if contender not in alike]
    notes = []
    if others:
        notes.append(
            f"Not compared with {scored[0].name}, because they were judged by other images, labels or classes: "
            f"{', '.join(others)}."
        )
    if len(alike) < 2:
        return Standing(alike, notes=tuple(notes))
    try:
        comparison = compare(
            [_evidence(contender).table for contender in alike],
            names=[contender.name for contender in alike],
            resamples=RESAMPLES,
        )
    except EmotionError as error:
        return Standing(alike, notes=(*notes, f"No paired test could be made. {error}"))
    letters = dict(comparison.ranking.select("run", "letters").iter_rows())
    pairs = _pairs(comparison.pairs, alike[0].name, len(alike))
    return Standing(alike, letters, comparison.sentence, pairs, tuple(notes))


def same_images(one: Evidence, two: Evidence) -> bool:
    """Whether two tables are of the same images with the same labels and classes."""
    if one.table.classes != two.table.classes or len(one.table) != len(two.table):
        return False
    first, second = (
        table.frame.select("id", "label", "group").sort("id") for table in (one.table, two.table)
    )
    return first.equals(second)


def _pairs(pairs: pl.DataFrame, best: str, count: int) -> Table:
    shown = (
        pairs if count <= ALL_PAIRS else pairs.filter((pl.col("first") == best) | (pl.col("second") == best))
    )
    rows = tuple(
        (
            Cell(f"{row['first']} − {row['second']}"),
            Cell(
                numbers.points(row["difference"]),
                row["difference"],
                numbers.points_interval(row["low"], row["high"]),
            ),
            Cell(numbers.p_value(row["p_value"]), row["p_value"]),
            Cell(numbers.p_value(row["p_holm"]), row["p_holm"]),
            Cell("yes" if row["differs"] else "no"),
        )
        for row in shown.iter_rows(named=True)
    )
    columns = (
        Column("Pair", number=False),
        Column("Difference, points", "Of accuracy, with its 95 % interval"),
        Column("p", "Two-sided, of this pair alone"),
        Column("p, corrected", "Corrected by Holm for the number of pairs"),
        Column("Different", number=False),
    )
    test = pairs["test"][0]
    caption = f"Pairs on the same images: {test}; p-values corrected for {len(pairs):,} pairs (Holm)."
    return Table(caption, columns, rows)


def _evidence(contender: Contender) -> Evidence:
    assert contender.validation is not None
    return contender.validation
