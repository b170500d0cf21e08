"""`emotion evaluate`: what it prints."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from emotion.commands.evaluate import evaluate
from emotion.evaluation import predictions
from emotion.runs import RunFolder


def test_intervals_that_can_not_be_trusted_are_starred(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.array([0] * 40 + [1] * 40 + [2] * 4)
    scores = 0.4 * np.eye(3)[labels] + 0.6 * np.random.default_rng(0).dirichlet(np.ones(3), 84)
    meta = predictions.Meta("other", "test", "run")
    table = predictions.from_arrays([str(row) for row in range(84)], labels, scores, "abc", meta)
    found = SimpleNamespace(
        table=table, path=Path("x"), left_out={}, unused=(), seen=0, all_known=True, notes=()
    )
    here = "emotion.commands.evaluate"
    monkeypatch.setattr(f"{here}.described", lambda *_: SimpleNamespace(data=None, machine=None))
    monkeypatch.setattr(f"{here}.with_weights", RunFolder)
    monkeypatch.setattr(f"{here}.score_other", lambda *_: found)
    evaluate(Path("run"), ["data=drawn"], None)
    lines = capsys.readouterr().out.splitlines()
    stars = {line.split()[0]: line.endswith("*]") for line in lines if line.endswith("]")}
    assert stars == {"accuracy": False, "balanced_accuracy": True, "f1_macro": True}
    assert sum(line.startswith("* interval not reliable: c has 4 images (under 10)") for line in lines) == 1
