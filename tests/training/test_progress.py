"""How far a piece of work is: rewritten in a terminal, one line in a log."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from emotion.evaluation import intervals
from emotion.evaluation.predictions import Meta, from_arrays
from emotion.training import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which tests move by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_a_log_gets_one_line(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    show = progress.counting(said.append, "Scored", "images", 1000)
    for done in range(100, 1001, 100):
        clock[0] += 1
        show(done)
    assert said == ["Scored 1,000 images in 10.0 s."]
    assert capsys.readouterr().out == ""


def test_a_terminal_sees_the_time_that_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    show = progress.preparing(lambda line: None)
    clock[0] = 30
    show(250, 1000)
    assert "250 of 1,000 images, 0:01:30 left" in capsys.readouterr().out
    clock[0] = 30.01
    show(251, 1000)
    assert capsys.readouterr().out == ""  # no flicker
    show(1000, 1000)
    assert capsys.readouterr().out == "\r\033[K"


def test_bootstraps_tell_a_terminal(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two one after the other each begin anew, however deep the bootstrap is."""
    table = from_arrays(
        [str(row) for row in range(40)],
        [0, 1] * 20,
        np.full((40, 2), 0.5),
        ("a", "b"),
        Meta("drawn", "test", "r"),
    )

    def slow(*args: Any) -> Iterator[Any]:
        for block in draw(*args):
            clock[0] += 1
            yield block

    def shown() -> str:
        with progress.resampling():
            for _ in range(2):
                intervals.estimate(table, ["f1_macro"], resamples=1024)
        return capsys.readouterr().out

    draw = intervals.resample
    monkeypatch.setattr(intervals, "resample", slow)
    assert shown() == ""
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    assert shown().count("\rDrew 256 of 1,024 resamples, 0:00:03 left") == 2
