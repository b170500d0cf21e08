"""What lies in a data set's folder: looking for its layout, and telling whether it has changed."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from emotion.errors import DataError, LayoutError

ARCHIVE_SUFFIXES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "publictest"), "val"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}
"""What parts of a data set are called, in lower case, where "_set" doesn't follow."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
_NO_DATA = frozenset({"__MACOSX", "lost+found"})  # what archives and file systems put beside the data


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


def locate(
    root: Path | None,
    what: str,
    accepts: Callable[[Path], bool],
    remedy: str,
    depth: int = 2,
    several: Callable[[list[Path]], str] | None = None,
) -> Path:
    """The one folder at or below `root` that holds a data set.

    Args:
        what: the layout that is looked for, as "a X download: …".
        accepts: whether a folder has this layout.
        remedy: where the data can be had.
        depth: how many levels down to look.
        several: what to do where there is more than one, if not to choose one.

    Raises:
        LayoutError: there is none.
        DataError: there is more than one, or something on the way can't be read.
    """
    path = existing_root(root, what)
    if path.is_file():
        raise LayoutError(f"expected {what}; {path} is a file. If it is an archive, unpack it first.")
    by_place: dict[Path, Path] = {}  # a link to a folder that was found is no second one
    for place in sorted(find_below(path, accepts, depth), key=lambda place: len(place.parts)):
        by_place.setdefault(place.resolve(), place)
    found = list(by_place.values())
    if not found:
        packed = archives(path)
        unpack = f" Unpack {packed[0]} first." if packed else ""
        raise LayoutError(
            f"expected {what}; {path} holds {listing(path)}.{unpack} Point data.root at the unpacked download; "
            f"{remedy}"
        )
    if len(found) > 1:
        advice = several(found) if several else "Point data.root at one of them."
        raise DataError(
            f"expected {what}, once; found {len(found)} below {path}: "
            f"{', '.join(str(place.relative_to(path)) for place in found)}. {advice}"
        )
    return found[0]


def leaves_root(path: str) -> bool:
    """Whether a path from a label file points out of the folder that it is relative to, on any system.

    >>> leaves_root("a/../../b.jpg"), leaves_root("C:/b.jpg"), leaves_root("a/b..jpg")
    (True, True, False)
    """
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    return posix.is_absolute() or bool(windows.drive or windows.root) or ".." in windows.parts


class FilesBelow:
    """Which files lie below a folder: each folder is listed once, when it is first asked for; no file is touched."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[str, frozenset[str]] = {}

    def names(self, folder: str = "") -> frozenset[str]:
        """The names of everything in a folder, none where there is no such folder.

        Raises:
            DataError: the folder can't be read.
        """
        if folder not in self._names:
            place = self.root / folder
            try:
                self._names[folder] = frozenset(os.listdir(place))  # noqa: PTH208  Path objects for a million names
            except (FileNotFoundError, NotADirectoryError, ValueError):
                self._names[folder] = frozenset()
            except OSError as error:
                if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
                    raise DataError(
                        f"{place} can't be read: {error.strerror}. Check its permissions."
                    ) from error
                self._names[folder] = frozenset()
        return self._names[folder]

    def problem(self, path: str) -> tuple[str, str] | None:
        """Why a label file's path can't be used, as (reason, detail); None where the file is there."""
        if not path:
            return "no file name", "the name of the image is empty"
        if "\ufffd" in path:
            return "not UTF-8 text", "save the label file as UTF-8"
        if leaves_root(path):
            return "path leaves the data root", "expected a path below the folder of the images"
        folder, _, name = path.rpartition("/")
        if name not in self.names(folder):
            return "missing file", f"not in {(self.root / folder).name or folder}/"
        return None


def walk(folder: Path, depth: int = 8) -> Iterator[tuple[str, list[str]]]:
    """Every folder at or below `folder`, relative and with "/", and the sorted names of its files.

    Links to folders are followed, but never to one above itself.

    Raises:
        DataError: a folder can't be read.
    """
    yield from _walk(folder, "", depth, set())


def _walk(
    folder: Path, relative: str, depth: int, above: set[tuple[int, int]]
) -> Iterator[tuple[str, list[str]]]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    yield relative, file_names(folder)
    for inner in subfolders(folder) if depth else ():
        below = f"{relative}/{inner.name}" if relative else inner.name
        yield from _walk(inner, below, depth - 1, above | {identity})


def existing_folder(folder: Path, key: str) -> Path:
    """`folder`, which the configuration's `key` names.

    Raises:
        DataError: it is no folder.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder in {key}, found {folder}, which is none. Correct {key}.")
    return folder


def listing(folder: Path, limit: int = 8) -> str:
    """What a folder holds, in a few words."""
    try:
        names = sorted(
            entry.name + ("/" if _is_folder(entry) else "")
            for entry in os.scandir(folder)
            if entry.name[0] != "."
        )
    except OSError as error:
        return f"what can't be listed ({error.strerror})"
    if not names:
        return "nothing"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def archives(folder: Path) -> list[str]:
    """The names of the archives in a folder."""
    return [name for name in file_names(folder) if name.lower().endswith(ARCHIVE_SUFFIXES)]


def find_below(root: Path, accepts: Callable[[Path], bool], depth: int = 2) -> list[Path]:
    """The uppermost folders at or below `root`, at most `depth` levels down, that `accepts` accepts.

    Raises:
        DataError: something on the way can't be read.
    """
    try:
        if accepts(root):
            return [root]
    except OSError as error:
        raise DataError(f"{root} can't be read: {error.strerror}. Check its permissions.") from error
    if depth == 0:
        return []
    return [found for folder in subfolders(root) for found in find_below(folder, accepts, depth - 1)]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name; hidden ones and those that never hold data are left out.

    Raises:
        DataError: the folder can't be read.
    """
    with _entries(folder) as entries:
        names = [entry.name for entry in entries if _may_hold_data(entry.name) and _is_folder(entry)]
    return [folder / name for name in sorted(names)]


def part_of(name: str) -> str | None:
    """The part that a folder or a cell is named after; None where it is none.

    >>> part_of("Validation_set"), part_of("happy")
    ('val', None)
    """
    return PARTS.get(name.strip().lower().removesuffix("_set"))


def part_folders(folder: Path, holds: Callable[[Path], bool]) -> dict[str | None, Path]:
    """The folders in a folder that are named after a part and of which `holds` is true, by their part.

    Raises:
        DataError: two folders are one part.
    """
    found: dict[str | None, Path] = {}
    for below in subfolders(folder):
        part = part_of(below.name)
        if part is None or not holds(below):
            continue
        if part in found:
            raise DataError(
                f"expected one folder for the part {part} in {folder}, found {found[part].name} and {below.name}. "
                "Keep one of them."
            )
        found[part] = below
    return found


def file_names(folder: Path) -> list[str]:
    """The names of everything in a folder but hidden files and folders, sorted.

    Raises:
        DataError: the folder can't be read.
    """
    with _entries(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name[0] != "." and not _is_folder(entry))


def holds_images(folder: Path) -> bool:
    """Whether an image lies right in a folder; looks no further than the first.

    Raises:
        DataError: the folder can't be read.
    """
    with _entries(folder) as entries:
        return any(
            Path(entry.name).suffix.lower() in IMAGE_SUFFIXES
            and entry.name[0] != "."
            and not _is_folder(entry)
            for entry in entries
        )


def _may_hold_data(name: str) -> bool:
    """Whether a folder of this name is to be looked into."""
    return name[0] != "." and name not in _NO_DATA


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


@contextmanager
def _entries(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error.strerror}. Check its permissions.") from error


def tree_digest(*paths: Path) -> str:
    """A digest that changes when files are added, removed or renamed below a folder, or a file is rewritten.

    Of a folder the names below it and the times of its folders count (a file changed in place is not noticed:
    looking at each of a million files would take longer than opening the store that this is the key of), of a
    file its name, size and time. Folders that `subfolders` leaves out don't count, and of one that can't be read
    only the name does: whoever needs it says so.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        if path.is_dir():
            _digest_tree(digest, str(path), "", frozenset())
        else:
            _digest_file(digest, path)
    return digest.hexdigest()


def folders_digest(root: Path, folders: Iterable[str]) -> str:
    """As `tree_digest`, of folders below `root` without the folders in them."""
    digest = hashlib.blake2b(digest_size=16)
    for folder in folders:
        _digest_folder(digest, f"{root}/{folder}", folder, frozenset())
    return digest.hexdigest()


def _digest_file(digest: "hashlib.blake2b", path: Path) -> None:
    try:
        status = path.stat()
        _digest_text(digest, f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0")
    except OSError:
        _digest_text(digest, f"{path.name}\0unreadable\0")


def _digest_tree(
    digest: "hashlib.blake2b", path: str, relative: str, above: frozenset[tuple[int, int]]
) -> None:
    identity, folders = _digest_folder(digest, path, relative, above)
    for name in folders:
        _digest_tree(digest, f"{path}/{name}", f"{relative}/{name}", above | {identity})


def _digest_folder(
    digest: "hashlib.blake2b", path: str, relative: str, above: frozenset[tuple[int, int]]
) -> tuple[tuple[int, int], list[str]]:
    """Add a folder's time and the names of its files; returns its identity and the folders in it, sorted.

    Nothing is added where it is one of those `above`: a link leads back to it.
    """
    names: list[str] = []
    folders: list[str] = []
    try:
        status = os.stat(path)  # noqa: PTH116  Path objects for a hundred thousand folders
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return identity, []
        with os.scandir(path) as entries:
            for entry in entries:
                (folders if _is_folder(entry) else names).append(entry.name)
    except (OSError, ValueError):  # forbidden, gone since it was listed, or no possible name
        _digest_text(digest, f"{relative}\0unreadable\0")
        return (0, 0), []
    _digest_text(digest, f"{relative}\0{status.st_mtime_ns}\0")
    _digest_text(digest, "\0".join(sorted(names)))
    return identity, sorted(filter(_may_hold_data, folders))


def _digest_text(digest: "hashlib.blake2b", text: str) -> None:
    digest.update(text.encode("utf-8", "surrogateescape"))


def as_text(name: str) -> str:
    """A name as it can be written into a table: on Linux a file name can be any bytes."""
    return name.encode("utf-8", "backslashreplace").decode()
