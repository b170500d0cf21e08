"""What lies in a data set's folder: looking for its layout, and telling whether it has changed."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


def existing_root(root: Path | None, what: str) -> Path:
    """`root` as an absolute path.

    Raises:
        DataError: it isn't given or doesn't exist.
    """
    if root is None:
        raise DataError(
            f"expected data.root, the folder of {what}; found null. Set data.root=/path/to/the/download."
        )
    path = root.absolute()
    try:
        if path.exists():
            return path
    except OSError as error:
        raise DataError(f"data.root {path} can't be read: {error.strerror}.") from error
    parent = next(parent for parent in path.parents if parent.exists())
    raise DataError(
        f"expected data.root, the folder of {what}; {path} does not exist. "
        f"{parent} exists and holds {listing(parent)}. Correct data.root, or download the data there."
    )


def listing(folder: Path, limit: int = 8) -> str:
    """What a folder holds, in a few words."""
    try:
        names = sorted(
            entry.name + ("/" if entry.is_dir() else "")
            for entry in os.scandir(folder)
            if entry.name[0] != "."
        )
    except OSError as error:
        return f"what can't be listed ({error.strerror})"
    if not names:
        return "nothing"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def find_below(root: Path, accepts: Callable[[Path], bool], depth: int = 2) -> list[Path]:
    """The uppermost folders at or below `root`, at most `depth` levels down, that `accepts` accepts."""
    if accepts(root):
        return [root]
    if depth == 0:
        return []
    return [found for folder in subfolders(root) for found in find_below(folder, accepts, depth - 1)]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, hidden ones left out, sorted by name.

    Raises:
        DataError: the folder can't be read.
    """
    with _entries(folder) as entries:
        names = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    return [folder / name for name in sorted(names) if name != "__MACOSX"]


def file_names(folder: Path) -> list[str]:
    """The names of everything in a folder but hidden files and folders, sorted.

    Raises:
        DataError: the folder can't be read.
    """
    with _entries(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name[0] != "." and not entry.is_dir())


@contextmanager
def _entries(folder: Path | str) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error.strerror}. Check its permissions.") from error


def tree_digest(*paths: Path) -> str:
    """A digest that changes when files are added, removed or renamed below a folder, or a file is rewritten.

    Of a folder the names below it and the times of its folders count (a file changed in place is not noticed:
    looking at each of a million files would take longer than opening the store that this is the key of), of a
    file its name, size and time.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        if path.is_dir():
            _digest_folder(digest, str(path), "", set())
        else:
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _digest_folder(digest: "hashlib.blake2b", path: str, relative: str, above: set[tuple[int, int]]) -> None:
    status = Path(path).stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link to a folder above itself
        return
    names: list[str] = []
    folders: list[str] = []
    with _entries(path) as entries:
        for entry in entries:
            (folders if entry.is_dir() else names).append(entry.name)
    digest.update(f"{relative}\0{status.st_mtime_ns}\0".encode())
    digest.update("\0".join(sorted(names)).encode("utf-8", "surrogateescape"))
    for name in sorted(folders):
        _digest_folder(digest, f"{path}/{name}", f"{relative}/{name}", above | {identity})
