"""The runs that a command's arguments name."""

from collections.abc import Sequence
from pathlib import Path

from emotion.errors import RunError
from emotion.runs import RunFolder, is_sweep
from emotion.sweeps import SweepFolder


def runs_in(paths: Sequence[Path]) -> list[RunFolder]:
    """The runs of these run and sweep folders, each once, half-written ones too.

    Raises:
        RunError: there is neither a run nor a sweep in one of them, or it can't be read.
    """
    found: dict[Path, RunFolder] = {}
    for path in paths:
        try:
            found |= {run.path: run for run in _runs(path.expanduser())}
        except OSError as error:
            raise RunError(
                f"expected a run folder that can be read, found {path}: {error.strerror}."
            ) from error
    return list(found.values())


def _runs(path: Path) -> list[RunFolder]:
    if is_sweep(path):
        return SweepFolder.open(path).runs()
    if (path / "config.yaml").is_file():
        return [RunFolder(path.resolve())]  # what else is missing is said by who reads it
    return [RunFolder.open(path)]
