"""Commands that need a run's own images, where these have changed or would be divided otherwise."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from emotion.cli import app
from emotion.errors import DataError
from emotion.evaluation import predictions
from emotion.runs import RunFolder
from emotion.training.explain import Explainer
from emotion.training.own_data import at_hand
from emotion.training.pictures import PicturesOfRuns
from emotion.training.probe import write_probe

Edited = Callable[[Callable[[dict[str, Any]], None]], RunFolder]


@pytest.fixture
def edited(finished: RunFolder, tmp_path: Path) -> Edited:
    """A copy of a run, with another splits.json."""

    def edit(change: Callable[[dict[str, Any]], None]) -> RunFolder:
        run = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "copy")))
        splits = run.splits
        change(splits)
        run.file("splits.json").write_text(json.dumps(splits))
        return run

    return edit


def probe(run: RunFolder) -> RunFolder:
    return write_probe(run, "logistic", run.path.parent / "probe", "")


def quiz(run: RunFolder) -> dict[str, Any]:
    """The key to a quiz of ten of a run's images."""
    there = run.path.parent / "quizzes"
    arguments = ["quiz", str(run.path), "--count", "10", "--quizzes-dir", str(there)]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    (key,) = there.glob("*/key.json")
    found: dict[str, Any] = json.loads(key.read_text())
    return found


@pytest.mark.parametrize("command", [probe, quiz])
@pytest.mark.parametrize("part", ["train", "test"])
def test_other_parts_are_refused(edited: Edited, command: Callable[[RunFolder], Any], part: str) -> None:
    """As by a version that divides images otherwise: a probe would be judged by images that the backbone has seen."""
    run = edited(lambda splits: splits["hash"].update({part: "0" * 32}))
    with pytest.raises(
        DataError, match=r"the parts that copy was trained with, found .* divides .* otherwise"
    ):
        command(run)
    assert at_hand(run) is None


@pytest.mark.parametrize("command", [probe, quiz, Explainer, lambda run: PicturesOfRuns()(run, [])])
def test_other_data_is_refused(edited: Edited, command: Callable[[RunFolder], Any]) -> None:
    run = edited(lambda splits: splits["data"].update(fingerprint="0" * 32))
    with pytest.raises(DataError, match="the data that copy was trained on, found that it has changed since"):
        command(run)
    assert at_hand(run) is None


def test_the_run_s_own_images_are_taken(edited: Edited) -> None:
    run = edited(lambda splits: None)
    assert probe(run).finished
    asked = quiz(run)["ids"]
    assert len(asked) == 10
    assert set(asked) <= set(predictions.read(run.predictions("test")).ids)
    assert at_hand(run) is not None
