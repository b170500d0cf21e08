"""`emotion runs list|show|rm` and `emotion sweep list`: every run is there, named in full, whatever state it is in."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from emotion.cli import app
from emotion.errors import RunError
from emotion.kept import keep
from emotion.runs import RunFolder
from emotion.training.derived import write_ensemble
from emotion.training.folder import locked
from tests.reporting import fakes

LONG = "tf_efficientnet_lite0"


def call(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def make(folder: Path, model: str = "minivgg", **options: Any) -> RunFolder:
    return fakes.make_run(folder, count=60, config={"model.name": model}, **options)


def became(run: RunFolder, **changes: Any) -> RunFolder:
    run.file("status.json").write_text(json.dumps({**run.status, **changes}))
    return run


def cut(run: RunFolder) -> RunFolder:
    run.file("status.json").write_text(run.file("status.json").read_text()[:50])
    return run


def row(said: str, run: RunFolder) -> list[str]:
    (line,) = [line for line in said.splitlines() if line.startswith(run.name)]
    return line.removeprefix(run.name).split()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed goes to one of 80 columns that knows no colours."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


def test_a_terminal_of_80_columns_shows_names_and_states_in_full(terminal: None, tmp_path: Path) -> None:
    finished, running = make(tmp_path, LONG), became(make(tmp_path), state="interrupted", epoch=3)
    said = call("runs", "list", "--runs-dir", tmp_path)
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in said
    assert row(said, finished)[0] == "finished"
    assert "2026-03-02" in lines[1 + [line.startswith(finished.name) for line in lines].index(True)]
    assert row(said, running)[0] == "interrupted"
    scores = [f"{finished.metrics[part]['accuracy']:.1%}" for part in ("val", "test")]
    assert row(said, finished)[1:] == scores


def test_a_name_that_has_no_room_is_whole_all_the_same(terminal: None, tmp_path: Path) -> None:
    run = became(make(tmp_path, "a_network_of_the_longest_name_" * 3), state="interrupted", epoch=3)
    assert row(call("runs", "list", "--runs-dir", tmp_path), run)[0] == "interrupted"


def test_a_pipe_has_a_line_a_run(tmp_path: Path) -> None:
    run = make(tmp_path, LONG)
    said = call("runs", "list", "--runs-dir", tmp_path)
    assert row(said, run)[:2] == ["finished", "2026-03-02"]
    assert len(said.splitlines()) == 2


def test_a_killed_run_is_stopped_and_one_that_is_held_is_running(tmp_path: Path) -> None:
    run = became(make(tmp_path), state="running", epoch=3, epochs=30, commit=None, dirty=False)
    run.file("metrics.json").unlink()
    with locked(run.path):
        assert row(call("runs", "list", "--runs-dir", tmp_path), run) == ["running", "3/30"]
        assert "state     running, attempt 1, epoch 3 of 30" in call("runs", "show", run.path)
    held = run.file("lock").read_text()
    for _ in range(2):  # and looking leaves no trace
        said = call("runs", "list", "--runs-dir", tmp_path)
        assert row(said, run) == ["stopped", "3/30"]
        assert "The command that began it continues it." in said
    assert "state     stopped, attempt 1, epoch 3 of 30" in call("runs", "show", run.path)
    assert run.file("lock").read_text() == held
    run.file("lock").unlink()  # a copy without
    assert row(call("runs", "list", "--runs-dir", tmp_path), run) == ["stopped", "3/30"]


def test_an_ensemble_is_listed_and_latest_is_never_one(tmp_path: Path) -> None:
    runs = [make(tmp_path, hash8=f"{number:08x}") for number in (1, 2)]
    made = write_ensemble(runs, tmp_path / "both [ours]", "emotion ensemble …")
    said = call("runs", "list", "--runs-dir", tmp_path)
    assert row(said, made)[0] == "finished"
    (tmp_path / "latest").symlink_to(runs[1].name)
    call("runs", "rm", runs[1].name, "--yes", "--runs-dir", tmp_path)
    assert (tmp_path / "latest").resolve().name == runs[0].name
    call("runs", "rm", runs[0].name, "--yes", "--runs-dir", tmp_path)
    assert not (tmp_path / "latest").is_symlink()


def test_a_run_is_removed_once_and_its_own_folder_s_latest_is_renewed(tmp_path: Path) -> None:
    runs = [make(tmp_path / "elsewhere", hash8=f"{number:08x}") for number in (1, 2)]
    latest = tmp_path / "elsewhere" / "latest"
    latest.symlink_to(runs[1].name)
    (tmp_path / "runs").mkdir()
    said = call("runs", "rm", latest, runs[1].path, "--yes", "--runs-dir", tmp_path / "runs")
    assert said.splitlines() == [f"deleted {runs[1].path}"]
    assert latest.resolve() == runs[0].path


def test_a_status_without_a_state_is_said(tmp_path: Path) -> None:
    whole, run = make(tmp_path, hash8="00000001"), make(tmp_path, hash8="00000002")
    run.file("status.json").write_text('{"format": 1}')
    said = call("runs", "list", "--runs-dir", tmp_path)
    assert row(said, run)[0] == "unreadable"
    assert row(said, whole)[0] == "finished"
    assert "tells no state" in said
    for words in (("runs", "show", run.path), ("ensemble", whole.path, run.path, "--out", tmp_path / "e")):
        with pytest.raises(RunError, match="tells no state"):
            call(*words)
    run.file("status.json").write_text('{"format": 1, "state": "finished"}')
    run.file("metrics.json").unlink()
    assert "state     finished, attempt ?, epoch ? of ?" in call("runs", "show", run.path)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_an_ensemble_has_the_leaks_of_all_its_runs(tmp_path: Path, order: tuple[int, ...]) -> None:
    runs = [make(tmp_path, hash8=f"{leaks:08x}", leaks=leaks) for leaks in (0, 9, 4)]
    made = write_ensemble([runs[k] for k in order], tmp_path / "all", "emotion ensemble …")
    leaked = [f"PrivateTest_{row}" for row in range(9)]
    assert made.splits["leaked_test_ids"] == leaked
    assert [(leak["count"], leak["ids"]) for leak in made.splits["leaks"]] == [(9, leaked)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_ensemble_of_a_kept_leaky_run_has_its_count(tmp_path: Path, order: tuple[int, ...]) -> None:
    runs = [make(tmp_path, hash8=f"{leaks:08x}", leaks=leaks) for leaks in (4, 9)]
    runs[1].file("splits.json").write_text(json.dumps({**runs[1].splits, "protocol": "leaky"}))
    runs[1] = RunFolder(keep(runs[1], tmp_path / "kept", "emotion study …", None))
    splits = write_ensemble([runs[k] for k in order], tmp_path / "both", "emotion ensemble …").splits
    assert (splits["leaked_test_ids"], splits["leaked_test_count"]) == ([], 9)


def test_an_ensemble_that_was_cut_off_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [make(tmp_path, hash8=f"{number:08x}") for number in (1, 2)]

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.derived.predictions.write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            write_ensemble(runs, tmp_path / "both", "emotion ensemble …")
    assert write_ensemble(runs, tmp_path / "both", "emotion ensemble …").finished
    with monkeypatch.context() as patched:  # and what is there already is not finished while it is made anew
        patched.setattr("emotion.training.derived.predictions.write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            write_ensemble(runs, tmp_path / "both", "emotion ensemble …")
    assert not (tmp_path / "both" / "status.json").exists()
    both = write_ensemble(runs, tmp_path / "both", "emotion ensemble …")
    assert write_ensemble([both, runs[0]], both.path, "emotion ensemble …").finished  # onto one of its own


def test_an_unreadable_run_hides_no_other_and_says_why(terminal: None, tmp_path: Path) -> None:
    whole, broken = make(tmp_path), cut(make(tmp_path, LONG))
    said = call("runs", "list", "--runs-dir", tmp_path)
    assert row(said, whole)[0] == "finished"
    assert row(said, broken) == ["unreadable"]
    assert f"unreadable: {broken.file('status.json').resolve()} is not whole" in said


def sweep(folder: Path, runs: list[RunFolder]) -> Path:
    folder.mkdir(parents=True)
    jobs = [
        {"configuration": str(number), "folder": f"../../runs/{run.name}", "choices": {"seed": str(number)}}
        for number, run in enumerate(runs)
    ]
    (folder / "jobs.json").write_text(json.dumps({"format": 1, "jobs": jobs}))
    return folder


def test_a_sweep_is_not_removed_as_a_run(tmp_path: Path) -> None:
    run = make(tmp_path / "runs")
    folder = sweep(tmp_path / "sweeps" / "one", [run])
    shutil.copy(run.file("status.json"), folder)
    done = CliRunner().invoke(app, ["runs", "rm", "--yes", str(folder)])
    assert isinstance(done.exception, RunError)
    assert (folder / "jobs.json").is_file()


def test_a_half_written_run_stops_no_list_of_sweeps(tmp_path: Path) -> None:
    runs = [make(tmp_path / "runs", hash8=f"{number:08x}") for number in (1, 2, 3)]
    one, two = sweep(tmp_path / "sweeps" / "one", runs), sweep(tmp_path / "sweeps" / "two", runs[1:])
    shutil.copytree(one, tmp_path / "sweeps" / "cut")
    (tmp_path / "sweeps" / "cut" / "jobs.json").write_text("{")
    cut(runs[0])
    said = call("sweep", "list", "--sweeps-dir", tmp_path / "sweeps")
    assert f"{one}  2/3 finished, 1 unreadable  seed" in said
    assert f"{two}  2/2 finished  seed" in said
    assert re.search(
        rf"^{re.escape(str(tmp_path))}/sweeps/cut  unreadable: expected a sweep folder", said, re.M
    )
