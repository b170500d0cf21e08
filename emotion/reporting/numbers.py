"""Numbers as people read them: units, rounding and signs are decided here and nowhere else."""

from __future__ import annotations

import math

SPACE = "\u202f"  # narrow and unbreakable: a number and its unit stay on one line
MINUS = "\u2212"
DASH = "–"
MISSING = "—"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.6144)
    '61.4\u202f%'
    """
    return MISSING if _absent(value) else f"{100 * float(value or 0):.{digits}f}{SPACE}%"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of two shares in percentage points, with its sign.

    >>> points(-0.0213)
    '−2.1'
    """
    if _absent(value):
        return MISSING
    text = f"{100 * float(value or 0):+.{digits}f}".replace("-", MINUS)
    return "0." + "0" * digits if float(text.replace(MINUS, "-")) == 0 else text


def gap(value: float, share: bool) -> str:
    """A difference with its sign: of shares in percentage points, of other metrics as it is.

    >>> gap(-0.0213, True), gap(0.04, False)
    ('−2.1', '+0.040')
    """
    return points(value) if share else f"{value:+.3f}".replace("-", MINUS)


def gap_interval(low: float, high: float, share: bool) -> str:
    return f"{gap(low, share)} to {gap(high, share)}"


def decimal(value: float | None, digits: int = 3) -> str:
    return MISSING if _absent(value) else f"{float(value or 0):.{digits}f}".replace("-", MINUS)


def count(value: float | None) -> str:
    """
    >>> count(28709)
    '28,709'
    """
    return MISSING if _absent(value) else f"{round(float(value or 0)):,}".replace("-", MINUS)


def counted(number: int, noun: str) -> str:
    """
    >>> [counted(number, "thread") for number in (1, 2)]
    ['1 thread', '2 threads']
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short(value: float | None) -> str:
    """Three significant digits and a letter.

    >>> short(4_210_000), short(812), short(3.2e9)
    ('4.21 M', '812', '3.20 G')
    """
    if _absent(value):
        return MISSING
    number = float(value or 0)
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * size:
            scaled = number / size
            digits = max(0, 2 - int(math.log10(max(1.0, abs(scaled) * 1.0005))))
            return f"{scaled:.{digits}f}\u202f{letter}".replace("-", MINUS).replace(SPACE, " ")
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.3g}"


def duration(seconds: float | None) -> str:
    """
    >>> duration(7.25), duration(95), duration(600), duration(5400), duration(200000)
    ('7.2 s', '1 min 35 s', '10 min', '1 h 30 min', '2 d 8 h')
    """
    if _absent(seconds):
        return MISSING
    value = float(seconds or 0)
    if value < 59.5:
        return f"{value:.0f} s" if value >= 9.95 or value == int(value) else f"{value:.1f} s"
    big, small, size, unit = next(
        (big, small, size, unit)
        for big, small, size, unit, limit in (
            ("min", "s", 60, 1, 3600),
            ("h", "min", 3600, 60, 86400),
            ("d", "h", 86400, 3600, math.inf),
        )
        if round(value / unit) * unit < limit
    )
    whole = round(value / unit) * unit
    rest = whole % size // unit
    return f"{whole // size} {big}" + (f" {rest} {small}" if rest else "")


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Both ends of an interval of shares, in percent.

    >>> interval(0.598, 0.63)
    '59.8–63.0'
    """
    if _absent(low) or _absent(high):
        return MISSING
    return f"{100 * float(low or 0):.{digits}f}{DASH}{100 * float(high or 0):.{digits}f}"


def points_interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Both ends of an interval of differences, in percentage points.

    >>> points_interval(-0.004, 0.021)
    '−0.4 to +2.1'
    """
    return MISSING if _absent(low) or _absent(high) else f"{points(low, digits)} to {points(high, digits)}"


def p_value(value: float | None) -> str:
    """
    >>> p_value(0.00002), p_value(0.0312)
    ('< 0.001', '0.031')
    """
    if _absent(value):
        return MISSING
    return "< 0.001" if float(value or 0) < 0.001 else f"{float(value or 0):.3f}"


def _absent(value: float | None) -> bool:
    return value is None or not math.isfinite(value)
