"""Charts: values stand where they belong, nothing is lost, everything is escaped."""

import math
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion.reporting import svg

PERCENT = svg.Axis("y", 0, 1, "percent")


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(str(picture))


def hits(picture: str) -> list[str]:
    return [node.get("data-tip", "") for node in parsed(picture).iter("g") if node.get("class") == "hit"]


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_inside_evenly_spaced_and_few(low: float, span: float, wanted: int) -> None:
    high = low + span
    if high <= low:
        return
    found = svg.ticks(low, high, wanted)
    assert all(low - 1e-6 * span <= tick <= high + 1e-6 * span for tick in found)
    assert len(found) <= wanted + 2
    steps = {round((b - a) / span, 6) for a, b in pairwise(found)}
    assert len(steps) <= 1


def test_line_goes_through_its_points() -> None:
    picture = svg.line_chart([svg.Series("a", [0, 1, 2], [0.0, 0.5, 1.0])], svg.Axis("x"), PERCENT, title="t")
    path = next(node for node in parsed(picture).iter("path") if node.get("class") == "line")
    points = [tuple(map(float, pair.split(","))) for pair in path.get("d", "")[1:].split("L")]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 > y2  # SVG counts downwards
    grid = sorted(
        {float(node.get("y1", "nan")) for node in parsed(picture).iter("line") if node.get("class") == "grid"}
    )
    assert grid[0] == pytest.approx(y2, abs=0.2)
    assert grid[-1] == pytest.approx(y0, abs=0.2)


def test_missing_values_leave_a_gap_and_single_points_stay_visible() -> None:
    series = svg.Series("a", [1, 2, 3, 4, 5], [0.1, 0.2, math.nan, 0.4, math.nan])
    picture = svg.line_chart([series], svg.Axis("epoch", text="integer"), PERCENT, title="t")
    path = next(node for node in parsed(picture).iter("path"))
    assert path.get("d", "").count("M") == 1
    assert sum(node.get("class") == "point" for node in parsed(picture).iter("circle")) == 1
    assert hits(picture)[1] == "epoch 2\na\t20.0\u202f%"
    assert hits(picture)[2] == "epoch 3"


def test_one_epoch_is_drawn() -> None:
    picture = svg.line_chart(
        [svg.Series("a", [1], [0.3])], svg.Axis("epoch", text="integer"), svg.Axis("y"), title="t"
    )
    assert "nan" not in str(picture).lower()
    assert hits(picture) == ["epoch 1\na\t0.300"]


def test_many_points_get_few_stops() -> None:
    values = [number / 1000 for number in range(1000)]
    picture = svg.line_chart([svg.Series("a", values, values)], svg.Axis("x"), PERCENT, title="t")
    assert 60 <= len(hits(picture)) <= svg.HITS


def test_names_are_escaped() -> None:
    name = "<script>\"a\" & 'b'</script>"
    picture = svg.bar_chart([name], [("part", "blue", [3.0])], title=name)
    assert parsed(picture).get("aria-label") == name  # and it is well-formed
    assert hits(picture)[0].startswith(name)
    assert "<script>" not in str(picture)


def test_bars_are_as_long_as_their_shares() -> None:
    picture = svg.bar_chart(
        ["a", "b"], [("train", "grey", [30.0, 10.0]), ("test", "blue", [1.0, 1.0])], title="t"
    )
    bars = [node for node in parsed(picture).iter("rect") if node.get("class") is None]
    lengths = [float(node.get("width", "nan")) for node in bars]
    train_a, test_a, train_b, test_b = lengths
    assert train_a / train_b == pytest.approx(3, rel=0.01)
    assert test_a == pytest.approx(test_b)
    assert test_a / train_a == pytest.approx(0.5 / 0.75, rel=0.01)


def test_points_of_a_cost_chart_are_spaced_by_their_ratio() -> None:
    points = [(1e6, 0.5, "a", "blue"), (1e7, 0.6, "b", "green"), (1e9, 0.7, "c", "grey")]
    picture = svg.scatter_chart(
        points, svg.Axis("macs", text="short"), svg.Axis("accuracy", text="percent"), title="t"
    )
    at = [
        float(node.get("cx", "nan"))
        for node in parsed(picture).iter("circle")
        if node.get("class") == "point"
    ]
    assert (at[2] - at[1]) / (at[1] - at[0]) == pytest.approx(2, rel=0.01)
    assert hits(picture)[2] == "c\naccuracy\t70\u202f%\nmacs\t1.00 G"


@pytest.mark.parametrize(("low", "high"), [(40, 90), (1, 1e6), (3600, 4000)])
def test_times_have_round_ticks(low: float, high: float) -> None:
    picture = svg.scatter_chart(
        [(low, 0.5, "a", "blue"), (high, 0.6, "b", "blue")],
        svg.Axis("time", text="duration"),
        PERCENT,
        title="t",
    )
    texts = [node.text or "" for node in parsed(picture).iter("text") if node.get("class") == "tick"]
    times = [text for text in texts if "%" not in text]
    assert times
    assert all(len(text.split()) == 2 for text in times), times


def test_whisker_and_bar_stay_inside_their_cell() -> None:
    for picture in (svg.whisker(0.99, 0.2, 1.4, (0.5, 1.0)), svg.share_bar(1.0, 0.9, 1.0)):
        for node in parsed(picture).iter():
            for key in ("x1", "x2", "cx"):
                assert 0 <= float(node.get(key, 0)) <= 120
