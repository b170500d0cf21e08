"""`emotion runs list|show|rm`"""

import shutil
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.table import Table

from emotion.commands.printing import print_table
from emotion.errors import RunError
from emotion.runs import SCORED, RunFolder, find
from emotion.training.folder import is_held, locked, point_latest

STOPPED = "stopped"
STOPPED_MEANS = f"{STOPPED}: it was killed before it was finished. The command that began it continues it."
SHOWN = ("accuracy", "balanced_accuracy", "f1_macro")


def list_runs(runs_dir: Path) -> None:
    found = find(runs_dir)
    if not found:
        raise RunError(
            f"expected runs in {runs_dir.absolute()}, found none. --runs-dir names another folder."
        )
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    table.add_column("state")  # folds into two lines where names are long
    for name in ("val", "test", "balanced"):
        table.add_column(name, justify="right", no_wrap=True)
    notes = []
    for run in found:
        try:
            row = _row(run)
        except RunError as error:
            row = [run.name, "unreadable"]
            notes.append(f"unreadable: {error}")
        table.add_row(*row)
        if row[1].startswith(STOPPED) and STOPPED_MEANS not in notes:
            notes.append(STOPPED_MEANS)
    print_table(table)
    for note in notes:
        print(note)


def _row(run: RunFolder) -> list[str]:
    status = run.status
    state = _state(run, status)
    if state == "finished":
        metrics, how_far = run.metrics, status.get("finished", "")[: len("2026-03-02")]
    else:
        metrics, how_far = {}, f"{status.get('epoch', 0)}/{status.get('epochs', '?')}"
    return [
        run.name,
        f"{state} {how_far}".rstrip(),
        _percent(metrics, "val", "accuracy"),
        _percent(metrics, "test", "accuracy"),
        _percent(metrics, "test", "balanced_accuracy"),
    ]


def _state(run: RunFolder, status: dict[str, Any]) -> str:
    """As the status says, but `stopped` where no process works on what it says is running."""
    return STOPPED if status["state"] == "running" and not is_held(run.path) else str(status["state"])


def _percent(metrics: dict[str, Any], part: str, name: str) -> str:
    value = metrics.get(part, {}).get(name)
    return "" if value is None else f"{value:.1%}"


def show_run(run: Path, runs_dir: Path) -> None:
    folder = _named(run, runs_dir)
    status = folder.status
    print(folder.path)
    state = _state(folder, status)
    attempt, epoch, epochs = (status.get(name, "?") for name in ("attempt", "epoch", "epochs"))
    print(f"state     {state}, attempt {attempt}, epoch {epoch} of {epochs}")
    if state == STOPPED:
        print(STOPPED_MEANS)
    if "started" in status:  # a person's answers have no such thing
        print(
            f"started   {status['started']}"
            + (f", finished {status['finished']}" if "finished" in status else "")
        )
        changed = " with local changes" if status["dirty"] else ""
        print(f"code      emotion {status['version']}, commit {status['commit'] or 'unknown'}{changed}")
    if status.get("message"):
        print(f"message   {status['message']}")
    if folder.file("metrics.json").is_file():
        if "protocol" in folder.metrics:
            print(f"protocol  {folder.metrics['protocol']}: these scores say nothing about new faces")
        for part in SCORED:
            if part in folder.metrics:
                scores = folder.metrics[part]
                print(
                    f"{part.removesuffix('_test'):<9} "
                    + ", ".join(f"{name} {scores[name]:.4f}" for name in SHOWN)
                )
    print("\n" + yaml.safe_dump(folder.config, sort_keys=False, allow_unicode=True).rstrip())


def remove_runs(names: list[Path], runs_dir: Path, yes: bool) -> None:
    folders = [_named(name, runs_dir) for name in names]
    for folder in dict.fromkeys(folders):  # one may have two names, of which `latest` is one
        if not yes and not typer.confirm(f"Delete {folder.path} with its weights and predictions?"):
            continue
        with locked(folder.path):
            shutil.rmtree(folder.path)
        print(f"deleted {folder.path}")
        _renew_latest(folder.path.parent)


def _renew_latest(runs_dir: Path) -> None:
    """`latest` means the newest of the runs that are left."""
    latest = runs_dir / "latest"
    if latest.is_symlink() and not latest.exists():
        latest.unlink()
        trained = (run for run in find(runs_dir) if not run.derived)
        if (newest := next(trained, None)) is not None:
            point_latest(newest)


def _named(name: Path, runs_dir: Path) -> RunFolder:
    """A run by its path or by its name within `runs_dir`."""
    inside = runs_dir / name
    return RunFolder.open(inside if not name.exists() and inside.exists() else name)
