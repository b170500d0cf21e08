"""audit.html: what is wrong with a data set, with the pictures that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from emotion.atomic import write_text
from emotion.data import audit as findings
from emotion.data.audit import Audit
from emotion.data.table import SPLITS
from emotion.evaluation.label_errors import LabelErrors
from emotion.evaluation.predictions import Predictions
from emotion.reporting import numbers
from emotion.reporting.album import Album
from emotion.reporting.data_card import class_chart
from emotion.reporting.evidence import PART_NAMES
from emotion.reporting.page import (
    Beside,
    Block,
    Note,
    Page,
    Section,
    Sets,
    Sheet,
    Shot,
    Tile,
    Tiles,
)
from emotion.reporting.report import render
from emotion.reporting.tables import Cell, Column, Table

SHOWN, A_SET = 36, 8
_COLOURS = {"train": "grey", "val": "blue", "test": "vermilion"}


@dataclass(frozen=True)
class Suspects:
    """Likely label errors of images in the store, and the table of predictions that they come from."""

    table: Predictions
    errors: LabelErrors


def write(audit: Audit, path: Path, suspects: Suspects | None = None) -> Path:
    """Write the page; what it shows of many is a sample that is the same every time."""
    write_text(path, render(make(audit, suspects)))
    return path


def make(audit: Audit, suspects: Suspects | None = None) -> Page:
    """The page before it becomes HTML."""
    show = _Show(audit)
    store = audit.store
    sections = [
        _summary(audit, show),
        _section("identical", "Identical images", "The same pixels, more than once.", show, [
            ("Contradictory labels", findings.CONTRADICTORY, "digest", "One of the labels must be wrong."),
        ]),
        _section("crossing", "Twins in several parts", "Identical images and near duplicates.", show, [
            ("A sample of clusters", findings.CROSSING, "cluster", "What is tested or selected by was trained on."),
        ]),
        _near(audit, show),
        _section("near-labels", "Near duplicates labelled differently", "One picture, several opinions.", show, [
            ("A sample of clusters", findings.NEAR_CONTRADICTORY, "cluster", ""),
        ]),
        _section("groups", "Groups", "Persons and sources that the split does not keep apart.", show, [
            ("One picture, several groups", findings.SEVERAL_GROUPS, "cluster", "The same picture under two names."),
            ("On both sides of the split", findings.BOTH_SIDES, "group", ""),
        ]),
        _section("blank", "Blank images", "Nothing can be seen in them.", show, [
            ("Constant", findings.CONSTANT, None, ""),
            ("Nearly blank", findings.NEARLY_BLANK, None, ""),
        ]),
        _suspects(audit, suspects, show) if suspects is not None else None,
    ]  # fmt: skip
    kept = tuple(section for section in sections if section is not None)
    counts = audit.counts
    return Page(
        title=f"Audit of {store.name}",
        kicker="Audit of a data set",
        byline=(
            f"{len(store):,} images",
            f"{len(store.classes)} classes",
            f"{store.size_px} px, {'grey' if store.channels == 1 else 'colour'}",
            f"fingerprint {store.fingerprint[:12]}",
        ),
        finding=(
            f"{counts['images in them']:,} images are in {counts['groups of identical images']:,} groups of identical "
            f"ones. {counts['groups that cross parts']:,} of the groups cross parts, and "
            f"{counts['groups with contradictory labels']:,} carry contradictory labels. "
            f"{counts['confirmed pairs of near duplicates']:,} pairs more are near duplicates, "
            f"{counts['of which one is mirrored']:,} of them mirrored."
        ),
        sections=kept,
        faces=show.album.faces,
        source="Every number was counted on the prepared images; pictures are samples, the same every time.",
    )


class _Show:
    """Makes shots of images by row or by id."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.store = audit.store
        self.album = Album()
        self.frame = audit.store.frame.with_columns(
            cluster=pl.Series(audit.store.frame["id"].gather(audit.found.clusters))
        ).with_row_index("row")

    def row(self, row: int, text: str = "") -> Shot:
        sample = str(self.frame["id"][row])
        split = self.frame["split"][row]
        label = self.store.classes[int(self.store.labels[row])]
        words = ", ".join(word for word in (label, PART_NAMES.get(split or "", ""), text) if word)
        return Shot(self.album.add(np.asarray(self.store.images[row])), sample, words)

    def together(self, ids: pl.Series, column: str | None, count: int = SHOWN) -> Sets | None:
        """Some of the clusters (equal values of `column`) that the ids are in; of each the first images."""
        rows = self.frame.filter(pl.col("id").is_in(ids.unique().implode()))
        if not rows.height:
            return None
        if column is None:
            kept = _sample(rows["row"].to_list(), count)
            return Sets("", (("", tuple(self.row(row) for row in kept)),))
        values = _sample(rows[column].unique(maintain_order=True).to_list(), count)
        members = self.frame.filter(pl.col(column).is_in(values))
        sets = []
        for value in values:
            inside = members.filter(pl.col(column) == value)["row"].to_list()
            more = f"{len(inside)} images" if len(inside) > A_SET else ""
            sets.append((more, tuple(self.row(row) for row in inside[:A_SET])))
        return Sets("", tuple(sets))


def _sample(values: list, count: int) -> list:
    """At most so many, evenly spaced."""
    step = max(1, -(-len(values) // count))
    return values[::step][:count]


def _section(
    name: str, title: str, lead: str, show: _Show, parts: Sequence[tuple[str, str, str | None, str]]
) -> Section | None:
    blocks: list[Block] = []
    for heading, kind, column, text in parts:
        ids = show.audit.of(kind)["id"]
        found = show.together(ids, column)
        if found is not None:
            said = f"{ids.n_unique():,} images. {text}".strip()
            blocks.append(Sets(heading, found.sets, said))
    return Section(name, title, lead, tuple(blocks)) if blocks else None


def _near(audit: Audit, show: _Show) -> Section | None:
    """The precision sheets: an even sample of the confirmed pairs, the least alike first; the mirrored ones apart."""
    near = audit.found.near.sort("correlation")
    if not near.height:
        return None
    lead = (
        "A sample of the pairs, from the least to the most alike: correlation of the aligned pixels, and how many of "
        "the 63 bits of their hashes differ. Look at the first ones: if they are not one picture, don’t tie them."
    )
    blocks: list[Block] = []
    for heading, mirrored, text in (
        ("Is it one picture?", False, lead),
        (
            "Is it one picture in a mirror?",
            True,
            "The same, for pairs of which one has left and right exchanged.",
        ),
    ):
        pairs = near.filter(pl.col("mirrored") == mirrored)
        if pairs.height:
            blocks.append(Sets(heading, _pairs(pairs, show), text))
    return Section("near", "Near duplicates", f"{near.height:,} pairs were confirmed.", tuple(blocks))


def _pairs(near: pl.DataFrame, show: _Show) -> tuple[tuple[str, tuple[Shot, ...]], ...]:
    some = near[_sample(list(range(near.height)), SHOWN)]
    columns = some.select("first", "second", "distance", "correlation")
    return tuple(
        (f"{correlation:.3f}, {distance} bits", (show.row(first), show.row(second)))
        for first, second, distance, correlation in columns.iter_rows()
    )


def _summary(audit: Audit, show: _Show) -> Section:
    store, counts = audit.store, audit.counts
    proposed = audit.findings.filter("exclude")["id"].n_unique()
    tiles = Tiles(
        (
            Tile("Images", numbers.count(len(store))),
            Tile("Identical groups", numbers.count(counts["groups of identical images"])),
            Tile("of which cross parts", numbers.count(counts["groups that cross parts"])),
            Tile("Near-duplicate pairs", numbers.count(counts["confirmed pairs of near duplicates"])),
            Tile("Proposed to leave out", numbers.count(proposed), note="data.exclude=audit.csv"),
        )
    )
    rows = tuple((Cell(name, name), Cell(numbers.count(value), value)) for name, value in counts.items())
    table = Sheet(
        Table("What was counted.", (Column("Finding", number=False), Column("Number")), rows, sortable=False)
    )
    names = list(store.classes)
    split = store.frame["split"]
    parts = [name for name in SPLITS if (split == name).any()] or ["all"]
    groups = []
    for part in parts:
        inside = np.ones(len(store), bool) if part == "all" else (split == part).to_numpy()
        values = np.bincount(store.labels[inside], minlength=len(names)).astype(float).tolist()
        groups.append((PART_NAMES.get(part, part), _COLOURS.get(part, "blue"), values))
    chart = class_chart(names, groups)
    return Section(
        "summary",
        "What was found",
        "",
        (tiles, Beside((table, chart)), *(Note(said) for said in audit.warnings)),
    )


def _suspects(audit: Audit, suspects: Suspects, show: _Show) -> Section:
    table, errors = suspects.table, suspects.errors
    place = {sample: row for row, sample in enumerate(audit.store.frame["id"])}
    shots = []
    for row, suggested, margin in zip(
        errors.rows[: 2 * SHOWN], errors.suggested[: 2 * SHOWN], errors.margins[: 2 * SHOWN], strict=True
    ):
        sample = table.ids[row]
        if sample in place:
            shots.append(
                show.row(
                    place[sample], f"looks like {table.classes[suggested]} ({numbers.points(margin, 0)})"
                )
            )
    lead = (
        f"Of {len(table):,} images that {table.meta.run} was not trained on, {len(errors.rows):,} are confidently of "
        f"another class than their label; the share of wrong labels is estimated at {numbers.percent(errors.noise)}. "
        "A network’s opinion is no truth: none of them is proposed for exclusion."
    )
    blocks: tuple[Block, ...] = (
        (Sets("The least credible labels first", (("", tuple(shots)),)),) if shots else ()
    )
    return Section("labels", "Likely label errors", lead, blocks)
