"""The data card of a data set: one page of Markdown, from what its reader knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emotion.data.facts import WHOLE, Facts
from emotion.reporting import numbers
from emotion.reporting.tables import Cell, Column, Table
from emotion.reporting.tables import markdown as written


def markdown(name: str, facts: Facts, options: Mapping[str, str]) -> str:
    """The card.

    Args:
        name: as configurations spell it.
        facts: of the set.
        options: what the keys mean that this set has beside the common ones.
    """
    lines = [f"# {facts.title}", "", f"`data={name}`. {facts.citation}", ""]
    lines += [f"* **Licence:** {facts.licence}", f"* **Where to get it:** {facts.source}"]
    lines += [f"* **Face:** {facts.crop}", f"* **Kept together by a split:** {facts.group}", ""]
    if facts.layouts:
        lines += ["## Layouts that are recognised", "", *(f"* {layout}" for layout in facts.layouts), ""]
    if options:
        lines += ["## Options", "", *(f"* `data.{key}`: {meaning}" for key, meaning in options.items()), ""]
    if facts.cautions:
        lines += ["## With care", "", *(f"* {caution}" for caution in facts.cautions), ""]
    if facts.counted:
        lines += ["## Counted in its files", "", *(f"* {finding}" for finding in facts.counted), ""]
    for form, counts in facts.counts.items():
        lines += [written(_table(form, facts, counts)).rstrip(), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(form: str, facts: Facts, counts: Mapping[str, Sequence[int]]) -> Table:
    """Published images a class and part."""
    rows = [
        (Cell(name), *(Cell(numbers.count(values[row])) for values in counts.values()))
        for row, name in enumerate(facts.classes)
    ]
    rows.append((Cell("together"), *(Cell(numbers.count(sum(values))) for values in counts.values())))
    parts = (Column("all images" if part == WHOLE else part) for part in counts)
    caption = f"Published images of each class{f' ({form})' if form else ''}"
    return Table(caption, (Column("class", number=False), *parts), tuple(rows), sortable=False)
