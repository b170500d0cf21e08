"""Checkpoints: plain tensors and plain dicts, written so that a kill at any moment leaves one that can be read.

`last.ckpt` is Lightning's, for continuing; `best.ckpt` holds only what prediction needs:

    {"format": 1, "version": …, "identity": …, "classes": […], "preparation": {…}, "device": {…}, "network": {…},
     "config": {…}, "epoch": …, "state_dict": {tensors}}
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from emotion import atomic, formats
from emotion.errors import RunError

FORMAT = 1


class AtomicCheckpointIO(CheckpointIO):
    """Writes to a temporary file beside the target, syncs it, and keeps the previous file until it is replaced."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        with atomic.replacing(path) as part:
            _save(checkpoint, part)
            if path.exists():
                os.replace(path, previous(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return load(Path(path), map_location)

    def remove_checkpoint(self, path: Any) -> None:
        for file in (Path(path), previous(Path(path))):
            file.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the file that `path` replaced is kept."""
    return path.with_suffix(".previous.ckpt")


def newest(path: Path) -> tuple[Path, dict[str, Any]]:
    """`path` and what it holds, or the one that it replaced where it is missing or can't be read.

    Raises:
        RunError: neither can be read.
    """
    problems = []
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        try:
            return candidate, load(candidate)
        except RunError as error:
            problems.append(str(error))
    raise RunError(" ".join(problems) or f"expected a checkpoint, found nothing at {path}.")


def load(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The plain data of a checkpoint; nothing in it is ever executed.

    Raises:
        RunError: it can't be read.
    """
    try:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a broken file
        raise RunError(
            f"{path} can't be read as a checkpoint ({_first_line(error)}): copy it again, or type its run's command "
            "again with force=true."
        ) from error


def network_state(contents: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The network's weights in what a `last.ckpt` holds, by the network's own names."""
    inside = "network."
    return {k.removeprefix(inside): v for k, v in contents["state_dict"].items() if k.startswith(inside)}


def _save(contents: dict[str, Any], path: Path) -> None:
    try:
        torch.save(contents, path)
    except RuntimeError as error:  # torch's for a full disk, which it doesn't name
        raise full_disk(path, _first_line(error)) from error


def full_disk(path: Path, reason: object) -> RunError:
    """What to say where a file of a run can't be written."""
    free = shutil.disk_usage(path.parent).free / 2**20
    return RunError(
        f"{path.parent} can't be written to ({reason}); {free:,.0f} MiB are free there. What was saved before "
        "is still there: make room and type the same command again, or move runs to another disk (machine.runs_dir)."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def save_weights(path: Path, contents: dict[str, Any]) -> None:
    with atomic.replacing(path) as part:
        _save({**formats.stamp(FORMAT), **contents}, part)


def load_weights(path: Path) -> dict[str, Any]:
    """A `best.ckpt`.

    Raises:
        RunError: missing, unreadable, or of a format that this version doesn't know.
    """
    if not path.is_file():
        raise RunError(f"expected a checkpoint, found nothing at {path}.")
    contents = load(path)
    formats.require(path, contents, FORMAT)
    return contents


def epochs_done(path: Path, contents: dict[str, Any], identity: str) -> int:
    """How many epochs a `last.ckpt` has behind it.

    Args:
        path: where it lies, for the message.
        contents: what it holds.
        identity: of the run that is to be continued.

    Raises:
        RunError: it belongs to another configuration or other data.
    """
    if contents.get("identity") != identity:
        raise RunError(
            f"{path} belongs to the run {str(contents.get('identity'))[:8]}, expected {identity[:8]}: a checkpoint of "
            "another configuration or other data. Remove it, or use force=true to start anew."
        )
    return int(contents["epochs_done"])
