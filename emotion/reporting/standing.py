"""Which contenders can't be told apart, from paired tests on the images that all of them were judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from emotion.errors import DataError, EmotionError
from emotion.evaluation.comparison import aligned, compare, compare_folds, is_share
from emotion.evaluation.predictions import Part
from emotion.reporting import numbers
from emotion.reporting.contenders import Contender
from emotion.reporting.evidence import Evidence
from emotion.reporting.tables import Cell, Column, Table

ALL_PAIRS = 6  # of more contenders, only the pairs with the first one are shown


@dataclass(frozen=True)
class Standing:
    """What the paired tests say.

    Attributes:
        alike: the most contenders that were judged by the same images, best first.
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
    alike, notes = judged_alike(found)
    if len(alike) < 2:
        return Standing(alike, notes=notes)
    try:
        comparison = compare(
            [evidence_of(contender).table for contender in alike],
            names=[contender.name for contender in alike],
        )
    except EmotionError as error:
        return Standing(alike, notes=(*notes, f"No paired test could be made. {error}"))
    letters = dict(comparison.ranking.select("run", "letters").iter_rows())
    pairs = _pairs(comparison.pairs, alike[0].name, len(alike))
    return Standing(alike, letters, comparison.sentence, pairs, notes)


def judged_alike(
    found: Sequence[Contender], part: Part = "val"
) -> tuple[tuple[Contender, ...], tuple[str, ...]]:
    """The most contenders that were judged by the same images, in their order, and why the others weren't.

    Of equally many, those around the first one. Contenders without predictions are in neither.
    """
    sets: list[list[Contender]] = []
    for contender in found:
        if contender.evidence(part) is not None:
            home = next((one for one in sets if not _apart(one[0], contender, part)), None)
            if home is None:
                sets.append([contender])
            else:
                home.append(contender)
    if not sets:
        return (), ()
    alike = max(sets, key=len)
    others = [contender for one in sets if one is not alike for contender in one]
    notes = [
        f"Not compared, because judged by other images, labels or classes: {contender.name}. "
        f"{_apart(alike[0], contender, part)}"
        for contender in others
    ]
    return tuple(alike), tuple(notes)


def _apart(one: Contender, two: Contender, part: Part) -> str:
    """Why two contenders can't be compared; empty where they can."""
    first, second = (
        evidence_of(contender, part).table.with_meta(run=contender.name) for contender in (one, two)
    )
    try:
        aligned([first, second])
    except DataError as error:
        return str(error)
    return ""


def fold_tests(alike: Sequence[Contender], metric: str = "accuracy") -> Table | None:
    """The first of the contenders in folds against each other one, over folds; None where there aren't two."""
    folded = [contender for contender in alike if contender.folded and contender.validation is not None]
    share = is_share(metric)
    rows = []
    for other in folded[1:]:
        try:
            tables = evidence_of(folded[0]).table, evidence_of(other).table
            found = compare_folds(*tables, metric, folds=int(folded[0].first.flat["folds"]))
        except EmotionError:  # not in the same folds, or without any spread: the table of all folds shows it
            continue
        between = numbers.gap_interval(found.low, found.high, share)
        rows.append(
            (
                Cell(f"{folded[0].name} − {other.name}"),
                Cell(numbers.gap(found.value, share), found.value, between),
                Cell(numbers.p_value(found.p_value), found.p_value),
            )
        )
    columns = (
        Column("Pair", number=False),
        Column("Difference, points" if share else "Difference"),
        Column("p", "Two-sided, of this pair alone"),
    )
    caption = "Differences over folds: Nadeau and Bengio’s corrected t-test, which allows for shared training images."
    return Table(caption, columns, tuple(rows)) if rows else None


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
        Column(
            "Different",
            "By corrected p and interval; not told from too few images or groups",
            number=False,
        ),
    )
    test = pairs["test"][0]
    caption = f"Pairs on the same images: {test}; p-values corrected for {len(pairs):,} pairs (Holm)."
    return Table(caption, columns, rows)


def evidence_of(contender: Contender, part: Part = "val") -> Evidence:
    """The evidence of a contender that is known to have some."""
    found = contender.evidence(part)
    assert found is not None
    return found
