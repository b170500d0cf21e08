"""Files that are either wholly there or not at all."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emotion.errors import RunError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes `path`'s place when the block ends without an error.

    The same folder, because `os.replace` is atomic only within one file system; synced to disk before it is
    renamed, so that a power cut leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what was being written below `folder` when its writer was killed. Nobody else may be writing there."""
    for part in folder.rglob(".*.part"):
        if part.is_file():
            part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_between(path: Path, begin: str, end: str, block: str) -> None:
    """Replace what stands between two marks of a text file.

    Raises:
        RunError: the marks aren't there once each.
    """
    text = path.read_text()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise RunError(f"expected {begin} and {end} once each, in this order, in {path}.")
    before, rest = text.split(begin)
    write_text(path, f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}")
