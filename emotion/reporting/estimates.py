"""A number with its interval, as text and as a table's cell."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from emotion.evaluation.comparison import is_share
from emotion.evaluation.intervals import Interval
from emotion.reporting import numbers
from emotion.reporting.evidence import HEADLINE, Evidence
from emotion.reporting.tables import Cell


def headline_cells(evidence: Evidence) -> list[Cell]:
    """One cell for each of the headline metrics."""
    return [
        rate(evidence.headline[name], digits=1 if is_share(name) else 3, share=is_share(name))
        for name in HEADLINE
    ]


def value(number: float, metric: str) -> str:
    """A metric without its interval."""
    return numbers.percent(number) if is_share(metric) else numbers.decimal(number)


def said(found: Interval) -> str:
    """A share with its interval, spelt out for running text."""
    both = ends(found)
    return numbers.percent(found.value) + (f" (95 % interval {both})" if both else "")


def rate(found: Interval, digits: int = 1, share: bool = True, absent: bool = False) -> Cell:
    if absent or not np.isfinite(found.value):
        return Cell(numbers.MISSING)
    text = numbers.percent(found.value, digits) if share else numbers.decimal(found.value, digits)
    return Cell(text, found.value, ends(found, digits, share))


def with_interval(found: Interval, share: bool = True) -> str:
    if not np.isfinite(found.value):
        return "not defined here"
    both = ends(found, 1 if share else 3, share)
    text = numbers.percent(found.value) if share else numbers.decimal(found.value)
    return f"{text} ({both})" if both else text


def ends(found: Interval, digits: int = 1, share: bool = True) -> str:
    """The interval as text, with a star if it can't be trusted; empty if there is none."""
    if not (np.isfinite(found.low) and np.isfinite(found.high)):
        return ""
    if share:
        both = numbers.interval(found.low, found.high, digits)
    else:
        both = f"{numbers.decimal(found.low, digits)}{numbers.DASH}{numbers.decimal(found.high, digits)}"
    return both + ("" if found.reliable else "*")


def stars(found: Iterable[Interval]) -> tuple[str, ...]:
    """What the stars of a table mean."""
    notes = dict.fromkeys(one.note for one in found if not one.reliable and np.isfinite(one.low) and one.note)
    return tuple(f"* {note}" for note in notes)


def sortable(value: float) -> float | None:
    return value if np.isfinite(value) else None
