"""Which folders are runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emotion.errors import RunError
from emotion.runs import RunFolder, find


def status(folder: Path, second: int) -> None:
    folder.mkdir(parents=True)
    (folder / "status.json").write_text("{}")
    os.utime(folder / "status.json", (second, second))


def test_runs_are_found_whatever_their_names_newest_first(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    status(runs / "drawn-minivgg-fx-12345678", 1)
    status(runs / "drawn-minivgg-fx-12345678" / "attempts" / "1", 9)
    status(runs / "both [a]", 2)
    status(runs / "3f2a", 3)
    (runs / "3f2a" / "jobs.json").write_text("{}")  # a sweep
    status(tmp_path / "elsewhere", 4)
    (runs / "linked").symlink_to(tmp_path / "elsewhere")
    status(runs / "latest", 5)  # a copy that followed the link
    (runs / "empty").mkdir()
    (runs / "notes.txt").write_text("")
    assert [run.name for run in find(runs)] == ["both [a]", "drawn-minivgg-fx-12345678"]
    assert find(tmp_path / "nowhere") == []


def test_a_file_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("words")
    with pytest.raises(RunError, match=r"expected a run folder, found a file: .*README\.md"):
        RunFolder.open(tmp_path / "README.md")
    with pytest.raises(RunError, match="found nothing at"):
        RunFolder.open(tmp_path / "nowhere")


def test_a_sweep_is_no_run(tmp_path: Path) -> None:
    status(tmp_path / "3f2a", 1)  # earlier versions wrote one
    (tmp_path / "3f2a" / "jobs.json").write_text('{"format": 1, "jobs": []}')
    with pytest.raises(
        RunError, match=r"expected a run folder, found a sweep: .*`emotion sweep table .*3f2a`"
    ):
        RunFolder.open(tmp_path / "3f2a")


def test_reading_runs_imports_no_torch() -> None:
    code = "import sys; import emotion.runs, emotion.sweeps, emotion.commands.runs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_file_in_another_encoding_is_said(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.file("status.json").write_bytes('{"state": "beendet, Grüße"}'.encode("latin-1"))
    with pytest.raises(RunError, match=r"status\.json can't be read \(it is no UTF-8 text\)"):
        _ = run.status
    run.file("config.yaml").write_text("- a\n- list\n")
    with pytest.raises(RunError, match=r"config\.yaml holds no keys and values"):
        _ = run.config


def test_the_line_that_trains_again_can_be_typed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for command, typed in (("train.py seed=1", "python train.py seed=1"), ("emotion train", "emotion train")):
        run.file("environment.json").write_text(json.dumps({"format": 1, "command": command}))
        assert run.again == f"{typed} force=true"
