"""The runs that a command's arguments name."""

from collections.abc import Sequence
from pathlib import Path

from emotion.reporting.sweep import SweepFolder
from emotion.runs import RunFolder


def runs_in(paths: Sequence[Path]) -> list[RunFolder]:
    """The runs of these run and sweep folders, each once, half-written ones too.

    Raises:
        RunError: there is neither a run nor a sweep in one of them, or a sweep of which no job has begun.
    """
    found = [run for path in paths for run in _runs(path)]
    return list({run.path: run for run in found}.values())


def _runs(path: Path) -> list[RunFolder]:
    if (path / "jobs.json").is_file():
        return SweepFolder.open(path).runs()
    if (path / "config.yaml").is_file():
        return [RunFolder(path.expanduser().resolve())]  # what else is missing is said by who reads it
    return [RunFolder.open(path)]
