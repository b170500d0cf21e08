"""Making, locking and renewing run folders."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import yaml

from emotion import atomic
from emotion.errors import RunError
from emotion.runs import FORMAT, RunFolder
from emotion.schema import RunConfig
from emotion.training.environment import code_version, version

LOCK, ATTEMPTS = "lock", "attempts"
_MOVING = ".part"  # the end of an attempt's name until all of it is there
_ORPHANS_S = 10.0  # torch's workers look for their parent every 5 s


def folder_name(config: RunConfig, identity: str) -> str:
    fold = "x" if config.fold is None else str(config.fold)
    return f"{config.data.shown_name}-{config.model.name}-f{fold}-{identity[:8]}"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class HeldError(RunError):
    """Another process holds the folder."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the run folder `path` (made if missing) for this process, until it ends by whatever cause.

    Worker processes hold it with their parent, and see some seconds after it that it was killed: those are waited for.

    Raises:
        HeldError: another process does.
        RunError: the folder can't be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        opened = (path / LOCK).open("a+")
    except OSError as error:
        raise RunError(
            f"expected to write into {path.parent}: {error.strerror}. Choose a folder that can be written; training "
            "takes it as machine.runs_dir."
        ) from error
    with opened as file:
        deadline = time.monotonic() + _ORPHANS_S
        while not _taken(file):
            file.seek(0)
            owner = file.read()
            if not _is_gone(owner) or time.monotonic() > deadline:
                raise HeldError(f"{path} is being run by {_owner(owner)}. Wait for it, or stop it.")
            time.sleep(0.2)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
        file.flush()
        yield


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_gone(owner: str) -> bool:
    """Whether the process that wrote this into the lock ran on this machine and doesn't any more."""
    try:
        known = json.loads(owner)
        if known["host"] == socket.gethostname():
            os.kill(known["pid"], 0)
    except ProcessLookupError:
        return True
    except (json.JSONDecodeError, PermissionError):
        pass
    return False


def is_held(path: Path) -> bool:
    """Whether a process holds the run folder `path`. One that was killed doesn't any more, whatever its status says."""
    try:
        with (path / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # somebody does, or the file system can't say
    return False


def _owner(text: str) -> str:
    try:
        owner = json.loads(text)
    except json.JSONDecodeError:
        return "another process"
    minutes = (time.time() - owner["since"]) / 60
    return f"process {owner['pid']} on {owner['host']} for {minutes:.0f} minutes"


class Status:
    """status.json, rewritten whenever something is known anew."""

    def __init__(self, folder: RunFolder, **known: Any) -> None:
        commit, dirty = code_version()
        self._path = folder.file("status.json")
        self.known: dict[str, Any] = {
            "format": FORMAT,
            "state": "running",
            "version": version(),
            "commit": commit,
            "dirty": dirty,
            **known,
        }

    def update(self, **known: Any) -> None:
        self.known |= known
        atomic.write_json(self._path, self.known)

    @staticmethod
    def amend(folder: RunFolder, **known: Any) -> None:
        """Change the status of a run whose own process can't any more."""
        if folder.file("status.json").is_file():
            atomic.write_json(folder.file("status.json"), {**folder.status, **known})


def read_status(folder: RunFolder) -> dict[str, Any] | None:
    """The status of a run, None where there is none yet."""
    return folder.status if folder.file("status.json").is_file() else None


def source_weights(path: Path) -> Path:
    """The best weights of the run that `model.init_from` names.

    Raises:
        RunError: the run or its weights are gone.
    """
    try:
        return RunFolder.open(path).require_weights()
    except RunError as error:
        raise RunError(f"model.init_from: {error}") from error


def write_config(folder: RunFolder, config: RunConfig) -> None:
    text = yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True)
    atomic.write_text(folder.file("config.yaml"), text)


def new_attempt(folder: RunFolder) -> None:
    """Move what the folder holds to attempts/<n>/."""
    kept = folder.path / ATTEMPTS
    number = 1 + max((int(p.name) for p in kept.glob("*") if p.name.isdigit()), default=0)
    contents = [p for p in folder.path.iterdir() if p.name not in (ATTEMPTS, LOCK)]
    if contents:
        part = kept / f".{number}{_MOVING}"
        part.mkdir(parents=True)
        # without its status first, so that nobody takes what an interruption leaves for a run
        for path in sorted(contents, key=lambda p: p.name != "status.json"):
            os.replace(path, part / path.name)
        part.rename(kept / str(number))


def put_back(folder: RunFolder) -> None:
    """What `new_attempt` was moving when it was interrupted is the folder's own again; first thing under its lock."""
    for part in (folder.path / ATTEMPTS).glob(f".*{_MOVING}"):
        for path in part.iterdir():
            os.replace(path, folder.path / path.name)
        part.rmdir()


def point_latest(folder: RunFolder) -> None:
    """Let runs/latest mean this run."""
    link = folder.path.parent / "latest"
    temporary = folder.path.parent / f".latest.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        os.replace(temporary, link)
    except OSError:
        temporary.unlink(missing_ok=True)  # a file system without links, or a real folder of that name
