"""Charts as inline SVG: no library, a few kilobytes each, colours from the page's CSS variables.

A chart is one stop for the keyboard. Its values hang on elements of class `hit`: the page's script shows the one
under the pointer, or walks through them with the arrow keys and speaks them (`data-tip`: a first line, then one
line "name<TAB>value" each). Without the script the chart is still complete, and every chart's numbers stand in a
table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from emotion.reporting import numbers

_LOG_FACTORS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
_ROUND_TIMES_S = (
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 86400, 172800, 432000, 864000
)  # fmt: skip
HITS = 120  # a line of more points than this gets a value for every n-th of them


@dataclass(frozen=True)
class Series:
    """A line: `colour` is the name of a CSS variable of the page (`--blue` → "blue")."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = "blue"
    dashed: bool = False
    thin: bool = False


@dataclass(frozen=True)
class Axis:
    """What a coordinate means: its label, its range (from the data where None) and how a value is written."""

    label: str
    low: float | None = None
    high: float | None = None
    text: str = "number"  # number | percent | integer | short | duration


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element; underscores in attribute names become hyphens, everything is escaped.

    >>> tag("text", "<5 & up", x=1, text_anchor="end")
    Markup('<text x="1" text-anchor="end">&lt;5 &amp; up</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_number(value) if isinstance(value, float) else _quoted(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>")  # noqa: S704  every part of it was escaped above


def _quoted(value: object) -> str:
    """An attribute's value; line breaks and tabs as references, or an XML parser would make spaces of them."""
    return str(escape(value)).replace("\n", "&#10;").replace("\t", "&#9;")


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2, 2.5 or 5 times a power of ten) inside a range.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    title: str,
    width: int = 520,
    height: int = 280,
    mark: tuple[float, str] | None = None,
    spoken: Sequence[Series] | None = None,
) -> Markup:
    """Lines over a common x.

    Args:
        title: what the chart shows, for those who can't see it.
        mark: an x to point out and what to call it.
        spoken: the lines whose values are shown, where all would be too many.
    """
    plot = _Plot(series, x, y, width, height)
    parts = [plot.frame()]
    if mark is not None:
        at = plot.x(mark[0])
        parts.append(tag("line", class_="mark", x1=at, x2=at, y1=plot.top, y2=plot.bottom))
        left = at > (plot.left + plot.right) / 2
        parts.append(
            tag(
                "text",
                mark[1],
                class_="mark-label",
                x=at + (-6 if left else 6),
                y=plot.top + 10,
                text_anchor="end" if left else "start",
            )
        )
    parts += [plot.line(item) for item in series]
    parts.append(plot.hits(series if spoken is None else spoken))
    return chart(title, width, height, *parts)


def reliability_chart(
    confidence: Sequence[float],
    accuracy: Sequence[float],
    counts: Sequence[int],
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    *,
    title: str,
    width: int = 520,
    height: int = 360,
) -> Markup:
    """Accuracy against confidence a bin, gaps to the diagonal drawn, the bins' sizes below.

    Args:
        low, high: ends of an interval of each bin's accuracy, where there is one.
    """
    axis = Axis("confidence of the answer", 0, 1, "percent")
    plot = _Plot([], axis, Axis("answers that were right", 0, 1, "percent"), width, height - 70)
    parts = [plot.frame(), tag("line", class_="reference", **plot.segment((0, 0), (1, 1)))]
    floor, tallest = float(height - 8), max([*counts, 1])
    hits = []
    line = Series("", confidence, accuracy)
    for index, (sure, right, size) in enumerate(zip(confidence, accuracy, counts, strict=True)):
        at, up = plot.x(sure), plot.y(right)
        bar = max(1.0, 44.0 * size / tallest)
        parts.append(tag("line", class_="gap", x1=at, x2=at, y1=plot.y(sure), y2=up))
        parts.append(tag("rect", class_="count", x=at - 7.0, y=floor - bar, width=14.0, height=bar))
        tip = [
            f"confidence {numbers.percent(sure)}",
            f"right\t{numbers.percent(right)}",
            f"images\t{numbers.count(size)}",
        ]
        if low is not None and high is not None:
            parts.append(
                tag("line", class_="whisker", x1=at, x2=at, y1=plot.y(low[index]), y2=plot.y(high[index]))
            )
            tip.insert(2, f"95 % interval\t{numbers.interval(low[index], high[index])}")
        hits.append(
            tag(
                "g",
                tag("rect", class_="area", x=at - 11.0, y=plot.top, width=22.0, height=floor - plot.top),
                tag("circle", class_="dot", cx=at, cy=up, r=4.5),
                class_="hit",
                data_tip="\n".join(tip),
            )
        )
    parts.append(plot.line(line))
    parts.append(tag("text", "images", class_="tick", x=plot.left - 8, y=floor, text_anchor="end"))
    parts.append(tag("g", *hits))
    return chart(title, width, height, *parts)


def bar_chart(
    names: Sequence[str],
    groups: Sequence[tuple[str, str, Sequence[float]]],
    *,
    title: str,
    unit: str = "images",
    width: int = 520,
) -> Markup:
    """Horizontal bars, one group a name: shares within each group, so that parts of all sizes compare.

    Args:
        groups: (name, CSS variable, a number for each of `names`).
    """
    bar, between, left, right, top = 9.0, 12.0, 92.0, 46.0, 4.0
    row = bar * len(groups) + 2.0 * (len(groups) - 1) + between
    height = int(top + row * len(names) + 22)
    shares = [[value / max(1.0, float(sum(values))) for value in values] for _, _, values in groups]
    limit = max([share for values in shares for share in values] or [1.0]) or 1.0
    scale = (width - left - right) / limit
    parts = []
    for value in ticks(0, limit, 4):
        at = left + value * scale
        parts.append(tag("line", class_="grid", x1=at, x2=at, y1=top, y2=height - 20))
        parts.append(
            tag("text", _text("percent", value), class_="tick", x=at, y=height - 5, text_anchor="middle")
        )
    for index, name in enumerate(names):
        start = top + index * row + between / 2
        middle = start + (row - between) / 2
        parts.append(tag("text", name, class_="name", x=left - 10, y=middle + 4, text_anchor="end"))
        tip, bars = [name], []
        for group, (part, colour, values) in enumerate(groups):
            length = max(1.0, shares[group][index] * scale) if values[index] else 0.0
            y = start + group * (bar + 2)
            bars.append(
                tag("rect", style=f"fill:var(--{colour})", x=left, y=y, width=length, height=bar, rx=1.5)
            )
            tip.append(
                f"{part}\t{numbers.count(values[index])} {unit}, {numbers.percent(shares[group][index])}"
            )
        largest = max(shares[group][index] for group in range(len(groups)))
        bars.append(
            tag(
                "text",
                numbers.percent(shares[-1][index] if len(groups) == 1 else largest, 0),
                class_="value",
                x=left + largest * scale + 6,
                y=middle + 4,
            )
        )
        area = tag("rect", class_="area", x=0, y=start - between / 2, width=width, height=row)
        parts.append(tag("g", area, *bars, class_="hit", data_tip="\n".join(tip)))
    return chart(title, width, height, *parts)


def roc_chart(curve: Series, others: Sequence[Series], *, title: str, size: int = 300) -> Markup:
    """A small square ROC chart: one class in colour, the others behind it."""
    plot = _Plot([], Axis("false alarms", 0, 1, "percent"), Axis("found", 0, 1, "percent"), size, size)
    plot.bottom = size - 26.0
    parts = [plot.frame(small=True), tag("line", class_="reference", **plot.segment((0, 0), (1, 1)))]
    parts += [plot.line(item) for item in others]
    parts += [plot.line(curve), plot.hits([curve])]
    return chart(title, size, size, *parts)


def scatter_chart(
    points: Sequence[tuple[float, float, str, str]],
    x: Axis,
    y: Axis,
    *,
    title: str,
    intervals: Sequence[tuple[float, float]] | None = None,
    width: int = 520,
    height: int = 320,
) -> Markup:
    """Named points, x on a logarithmic scale (costs of networks span decades).

    Args:
        points: (x > 0, y, name, CSS variable). intervals: (low, high) of y for each point.
    """
    lows = [low for low, _ in intervals or []] + [value for _, value, _, _ in points]
    highs = [high for _, high in intervals or []] + [value for _, value, _, _ in points]
    log = [math.log10(value) for value, *_ in points]
    room = max(0.15, 0.08 * (max(log) - min(log)))
    inner = Axis("", min(log) - room, max(log) + room)
    plot = _Plot(
        [], inner, Axis(y.label, y.low or _lower(lows), y.high or _upper(highs), y.text), width, height
    )
    parts = [plot.frame(bare_x=True), tag("text", x.label, class_="label", **plot.x_label())]
    for value in _log_ticks(min(log) - room, max(log) + room, x.text):
        at = plot.x(math.log10(value))
        parts.append(tag("line", class_="grid", x1=at, x2=at, y1=plot.top, y2=plot.bottom))
        parts.append(
            tag("text", _text(x.text, value), class_="tick", x=at, y=plot.bottom + 17, text_anchor="middle")
        )
    hits = []
    for index, (across, up, name, colour) in enumerate(points):
        at, height_at = plot.x(math.log10(across)), plot.y(up)
        marks = []
        tip = [name, f"{y.label}\t{_text(y.text, up)}", f"{x.label}\t{_text(x.text, across)}"]
        if intervals is not None:
            low, high = intervals[index]
            style = f"stroke:var(--{colour})"
            marks.append(
                tag("line", class_="whisker", style=style, x1=at, x2=at, y1=plot.y(low), y2=plot.y(high))
            )
            tip.insert(2, f"95 % interval\t{numbers.interval(low, high)}")
        marks.append(tag("circle", class_="point", style=f"fill:var(--{colour})", cx=at, cy=height_at, r=5.0))
        marks.append(tag("circle", class_="area", cx=at, cy=height_at, r=12.0))
        hits.append(tag("g", *marks, class_="hit", data_tip="\n".join(tip)))
    return chart(title, width, height, *parts, *hits)


def whisker(
    value: float, low: float, high: float, domain: tuple[float, float], colour: str = "blue"
) -> Markup:
    """A dot with its interval on a line, for a table cell; `domain` is the range of the whole column."""
    start, end = domain
    span = (end - start) or 1.0

    def place(number: float) -> float:
        return 4 + 112 * min(1.0, max(0.0, (number - start) / span))

    return tag(
        "svg",
        tag("line", class_="track", x1=4.0, x2=116.0, y1=8.0, y2=8.0),
        tag(
            "line",
            class_="whisker",
            style=f"stroke:var(--{colour})",
            x1=place(low),
            x2=place(high),
            y1=8.0,
            y2=8.0,
        ),
        tag("circle", class_="point", style=f"fill:var(--{colour})", cx=place(value), cy=8.0, r=3.6),
        class_="spark",
        viewBox="0 0 120 16",
        aria_hidden="true",
    )


def share_bar(
    value: float, low: float | None = None, high: float | None = None, colour: str = "blue"
) -> Markup:
    """A bar from 0 to 1 with the interval on it, for a table cell."""
    parts = [
        tag("rect", class_="track-bar", x=0.0, y=4.0, width=120.0, height=8.0, rx=2.0),
        tag("rect", style=f"fill:var(--{colour})", x=0.0, y=4.0, width=120 * value, height=8.0, rx=2.0),
    ]
    if low is not None and high is not None:
        parts.append(tag("line", class_="whisker over", x1=120 * low, x2=120 * high, y1=8.0, y2=8.0))
    return tag("svg", *parts, class_="spark", viewBox="0 0 120 16", aria_hidden="true")


def chart(title: str, width: int, height: int, *parts: Markup) -> Markup:
    """The frame of a chart: one keyboard stop with a name."""
    return tag(
        "svg",
        *parts,
        class_="chart",
        viewBox=f"0 0 {width} {height}",
        role="img",
        tabindex="0",
        aria_label=title,
    )


class _Plot:
    """The rectangle in which x and y have a meaning."""

    def __init__(self, series: Sequence[Series], x: Axis, y: Axis, width: int, height: int) -> None:
        xs = [value for item in series for value in item.x if math.isfinite(value)] or [0.0, 1.0]
        ys = [value for item in series for value in item.y if math.isfinite(value)] or [0.0, 1.0]
        self.x_axis, self.y_axis = x, y
        self.x_range = _widened(
            x.low if x.low is not None else min(xs), x.high if x.high is not None else max(xs)
        )
        self.y_range = _widened(
            y.low if y.low is not None else _lower(ys), y.high if y.high is not None else _upper(ys)
        )
        self.left, self.right, self.top, self.bottom = 58.0, width - 18.0, 10.0, height - 40.0

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (self.right - self.left) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (self.bottom - self.top) * (value - low) / (high - low)

    def segment(self, start: tuple[float, float], end: tuple[float, float]) -> dict[str, float]:
        return {"x1": self.x(start[0]), "y1": self.y(start[1]), "x2": self.x(end[0]), "y2": self.y(end[1])}

    def x_label(self) -> dict[str, object]:
        return {"x": (self.left + self.right) / 2, "y": self.bottom + 35, "text_anchor": "middle"}

    def frame(self, bare_x: bool = False, small: bool = False) -> Markup:
        parts = []
        wanted = 2 if small else 5
        for value in ticks(*self.y_range, wanted)[small:]:  # two zeros in one small corner are one too many
            at = self.y(value)
            parts.append(tag("line", class_="grid", x1=self.left, x2=self.right, y1=at, y2=at))
            text = _text(self.y_axis.text, value)
            parts.append(tag("text", text, class_="tick", x=self.left - 8, y=at + 4, text_anchor="end"))
        if not bare_x:
            for value in _x_ticks(self.x_range, self.x_axis.text, wanted):
                at = self.x(value)
                text = _text(self.x_axis.text, value)
                parts.append(tag("line", class_="grid soft", x1=at, x2=at, y1=self.top, y2=self.bottom))
                parts.append(tag("text", text, class_="tick", x=at, y=self.bottom + 17, text_anchor="middle"))
            if not small:
                parts.append(tag("text", self.x_axis.label, class_="label", **self.x_label()))
        parts.append(tag("line", class_="axis", x1=self.left, x2=self.right, y1=self.bottom, y2=self.bottom))
        if small or not self.y_axis.label:
            return tag("g", *parts)
        middle = (self.top + self.bottom) / 2
        turn = f"rotate(-90 12 {_number(middle)})"
        parts.append(
            tag(
                "text",
                self.y_axis.label,
                class_="label",
                x=12.0,
                y=middle,
                text_anchor="middle",
                transform=turn,
            )
        )
        return tag("g", *parts)

    def line(self, series: Series) -> Markup:
        pieces: list[list[str]] = [[]]
        for x, y in zip(series.x, series.y, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                pieces[-1].append(f"{_number(self.x(x))},{_number(self.y(y))}")
            elif pieces[-1]:
                pieces.append([])
        path = "".join("M" + "L".join(piece) for piece in pieces if len(piece) > 1)
        names = "line" + (" dashed" if series.dashed else "") + (" thin" if series.thin else "")
        style = f"stroke:var(--{series.colour})"
        parts = [tag("path", class_=names, style=style, d=path)] if path else []
        for piece in pieces:  # a line of one point would be invisible
            if len(piece) == 1:
                at_x, at_y = piece[0].split(",")
                dot = f"fill:var(--{series.colour})"
                parts.append(tag("circle", class_="point", style=dot, cx=at_x, cy=at_y, r=3.5))
        return tag("g", *parts)

    def hits(self, series: Sequence[Series]) -> Markup:
        """One upright band for every x that any line has, with all values there."""
        values = {item.name: dict(zip(item.x, item.y, strict=True)) for item in series}
        places = sorted({x for item in series for x in item.x if math.isfinite(x)})
        places = places[:: math.ceil(len(places) / HITS)] if places else []
        bands = []
        for index, place in enumerate(places):
            at = self.x(place)
            start = (at + self.x(places[index - 1])) / 2 if index else self.left
            end = (at + self.x(places[index + 1])) / 2 if index + 1 < len(places) else self.right
            tip = [f"{self.x_axis.label} {_text(self.x_axis.text, place)}"]
            marks = [
                tag(
                    "rect",
                    class_="area",
                    x=start,
                    y=self.top,
                    width=max(0.0, end - start),
                    height=self.bottom - self.top,
                ),
                tag("line", class_="guide", x1=at, x2=at, y1=self.top, y2=self.bottom),
            ]
            for item in series:
                value = values[item.name].get(place)
                if value is None or not math.isfinite(value):
                    continue
                tip.append(f"{item.name}\t{_text(self.y_axis.text, value, exact=True)}")
                style = f"fill:var(--{item.colour})"
                marks.append(tag("circle", class_="guide", style=style, cx=at, cy=self.y(value), r=3.6))
            bands.append(tag("g", *marks, class_="hit", data_tip="\n".join(tip)))
        return tag("g", *bands)


def _text(kind: str, value: float, exact: bool = False) -> str:
    if kind == "percent":
        return numbers.percent(value, 1 if exact or abs(100 * value - round(100 * value)) > 1e-6 else 0)
    if kind == "integer":
        return numbers.count(value)
    if kind == "short":
        return numbers.short(value)
    if kind == "duration":
        return numbers.duration(value)
    return numbers.decimal(value, 3) if exact else f"{value:g}".replace("-", numbers.MINUS)


def _x_ticks(limits: tuple[float, float], kind: str, wanted: int) -> list[float]:
    chosen = ticks(*limits, wanted)
    if kind == "integer":
        chosen = sorted({float(round(value)) for value in chosen if limits[0] <= round(value) <= limits[1]})
    return chosen


def _log_ticks(low: float, high: float, kind: str) -> list[float]:
    """Round numbers, or round times, between two powers of ten."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    choices = [[factor * 10.0**power for power in powers for factor in factors] for factors in _LOG_FACTORS]
    if kind == "duration":
        choices = [list(_ROUND_TIMES_S[::2]), list(_ROUND_TIMES_S)]
    chosen: list[float] = []
    for values in choices:
        chosen = [value for value in values if low <= math.log10(value) <= high]
        if len(chosen) >= 3:
            break
    return chosen[:: math.ceil(len(chosen) / 6)] if chosen else []


def _lower(values: Sequence[float]) -> float:
    low, high = min(values), max(values)
    return low - 0.06 * ((high - low) or abs(low) or 1.0)


def _upper(values: Sequence[float]) -> float:
    low, high = min(values), max(values)
    return high + 0.06 * ((high - low) or abs(high) or 1.0)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
