"""Which run a command that needs the weights of a kept one is given, and what is said and refused before training."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emotion.errors import RunError
from emotion.runs import RunFolder
from emotion.studies import tasks
from emotion.studies.again import with_weights
from emotion.studies.run import StudyRun
from emotion.studies.study import PROFILES, Study, parse
from emotion.studies.tasks import Results, Task, tasks_of
from tests.reporting import fakes

STUDY: dict[str, Any] = {
    "name": "small",
    "title": "t",
    "report": "r",
    "about": "a",
    "cannot_support": ["much"],
    "profiles": {name: {"about": "a", "seeds": [0]} for name in PROFILES},
    "rows": [
        {
            "name": "first",
            "title": "first",
            "data": "fer2013",
            "overrides": ["model=minivgg"],
            "folds": 3,
            "minutes": {"full": 60, "short": 10},
        },
        {"name": "tuned", "title": "tuned", "like": "first", "init_from": "first"},
        {"name": "svm", "title": "svm", "probe": {"row": "tuned", "head": "svm"}},
    ],
}
Kept = Callable[[str], Path]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Study:
    study = parse(yaml.safe_dump(STUDY), "here")
    monkeypatch.setattr(tasks, "load", lambda name: study)
    return study


@pytest.fixture
def kept(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Keeps a run of a task by its name; its data lies where its configuration says, its run folder in elsewhere/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "fer2013").mkdir()

    def keep(name: str) -> Path:
        (task,) = [t for row in study.rows for t in tasks_of(study, row, "full") if t.name == name]
        run = fakes.make_run(
            tmp_path / "elsewhere", count=300, config={"data.root": "/some/where", "name": name}
        )
        status = json.loads(run.file("status.json").read_text())
        status["seconds"] = {**status.get("seconds", {}), "total": 180.0}
        run.file("status.json").write_text(json.dumps(status))
        return Results(tmp_path / "kept", tmp_path / "beside").keep(task, RunFolder(run.path))

    return keep


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The runs that are trained, which each fail."""
    found: list[Task] = []

    def train(self: StudyRun, tasks: list[Task], keep: bool = True) -> None:
        assert not keep
        found.extend(tasks)
        self.unmeasured[tasks[-1].row.name] = "its computer burnt"

    monkeypatch.setattr(StudyRun, "_train", train)
    return found


def test_one_fold_and_the_fold_that_it_starts_from_are_trained(
    kept: Kept, trained: list[Task], capsys: pytest.CaptureFixture[str]
) -> None:
    kept("first-s0-f1")
    folder = kept("tuned-s0-f1")
    with pytest.raises(
        RunError,
        match=r"tuned-s0-f1 has no weights: its computer burnt\. The line to name files in: .* --again",
    ):
        with_weights(folder)
    assert [task.name for task in trained] == ["first-s0-f1", "tuned-s0-f1"]
    said = capsys.readouterr()
    assert not said.out
    assert "tuned-s0-f1 is trained again" in said.err
    assert "2 runs, about 6 min (2 by what kept runs of their rows took)" in said.err


def test_the_run_that_the_tables_are_of_is_taken(kept: Kept, trained: list[Task], tmp_path: Path) -> None:
    folder = kept("first-s0-f0")
    (origin,) = (tmp_path / "elsewhere").iterdir()
    (origin / "checkpoints").mkdir(exist_ok=True)
    (origin / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "runs")
    assert with_weights(folder).path.resolve() == (tmp_path / "runs" / origin.name)
    other = next((tmp_path / "runs").iterdir()) / "status.json"
    other.write_text(json.dumps({**json.loads(other.read_text()), "started": "2001-01-01T00:00:00+00:00"}))
    with pytest.raises(RunError, match="burnt"):
        with_weights(folder)
    assert [task.name for task in trained] == ["first-s0-f0"]


def test_another_run_that_is_cut_off_is_passed_over(kept: Kept, trained: list[Task], tmp_path: Path) -> None:
    folder = kept("first-s0-f0")
    (origin,) = (tmp_path / "elsewhere").iterdir()
    (origin / "checkpoints").mkdir(exist_ok=True)
    (origin / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    shutil.copytree(origin, tmp_path / "runs" / origin.name)
    cut = shutil.copytree(origin, tmp_path / "runs" / "drawn-minivgg-fx-00000000") / "status.json"
    cut.write_text(cut.read_text()[:40])
    os.utime(cut, (2**32, 2**32))  # newer, so that it is looked at first
    assert with_weights(folder).path.resolve() == (tmp_path / "runs" / origin.name)
    assert not trained


def test_a_run_that_is_no_study_s_is_left_as_it_is(tmp_path: Path) -> None:
    run = fakes.make_run(tmp_path)
    assert with_weights(run.path).path == run.path


def test_what_can_not_be_trained_again_is_said_before(
    kept: Kept, trained: list[Task], study: Study, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="never had weights: it is made of another row's features"):
        with_weights(kept("svm-s0-f2"))
    folder = kept("first-s0-f2")
    (tmp_path / "fer2013").rmdir()
    with pytest.raises(RunError, match=r"--profile full --rows first --again --data-root fer2013=DIR$"):
        with_weights(folder)
    row = json.loads((folder / "row.json").read_text())
    (folder / "row.json").write_text(json.dumps({**row, "recipe": "another"}))
    with pytest.raises(RunError, match="its study's file describes another run by now"):
        with_weights(folder)
    (folder / "row.json").write_text(json.dumps({key: row[key] for key in ("format", "row", "recipe")}))
    with pytest.raises(RunError, match="to say its study, found that it doesn't: another version"):
        with_weights(folder)
    assert not trained
