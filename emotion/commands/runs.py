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
from emotion.training.folder import locked, point_latest

SHOWN = ("accuracy", "balanced_accuracy", "f1_macro")


def list_runs(runs_dir: Path) -> None:
    found = find(runs_dir)
    if not found:
        raise RunError(
            f"expected runs in {runs_dir.absolute()}, found none. --runs-dir names another folder."
        )
    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "epoch", "val accuracy", "test accuracy", "test balanced", "finished"):
        table.add_column(
            name, justify="left" if name in ("run", "state", "finished") else "right", no_wrap=True
        )
    for run in found:
        table.add_row(*_row(run))
    print_table(table)


def _row(run: RunFolder) -> list[str]:
    try:
        status = run.status
        metrics = run.metrics if run.finished else {}
    except RunError as error:
        return [run.name, "unreadable", "", "", "", "", str(error)]
    state = status["state"]
    epoch = f"{status.get('epoch', 0)}/{status.get('epochs', '?')}"
    return [
        run.name,
        state,
        epoch,
        _percent(metrics, "val", "accuracy"),
        _percent(metrics, "test", "accuracy"),
        _percent(metrics, "test", "balanced_accuracy"),
        status.get("finished", ""),
    ]


def _percent(metrics: dict[str, Any], part: str, name: str) -> str:
    value = metrics.get(part, {}).get(name)
    return "" if value is None else f"{value:.1%}"


def show_run(run: Path, runs_dir: Path) -> None:
    folder = _named(run, runs_dir)
    status = folder.status
    print(folder.path)
    print(f"state     {status['state']}, attempt {status['attempt']}", end="")
    print(f", epoch {status['epoch']} of {status['epochs']}")
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
    for folder in folders:
        if not yes and not typer.confirm(f"Delete {folder.path} with its weights and predictions?"):
            continue
        with locked(folder.path):
            shutil.rmtree(folder.path)
        print(f"deleted {folder.path}")
    latest = runs_dir / "latest"
    if latest.is_symlink() and not latest.exists():
        latest.unlink()
        for newest in find(runs_dir)[:1]:
            point_latest(newest)


def _named(name: Path, runs_dir: Path) -> RunFolder:
    """A run by its path or by its name within `runs_dir`."""
    inside = runs_dir / name
    return RunFolder.open(inside if not name.exists() and inside.exists() else name)
