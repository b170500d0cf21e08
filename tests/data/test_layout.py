"""Digests of what lies on disk: what changes them, and what a tree may hold without harm."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emotion.data.layout import folders_digest, subfolders, tree_digest

Forbid = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("happy/1.jpg", "sad/2.jpg", "sad/more/3.jpg"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Forbid:
    """Makes folders unreadable, even for root."""
    scan = os.scandir

    def make(*folders: Path) -> None:
        def refusing(path: Any) -> Any:
            if Path(path) in folders:
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", refusing)

    return make


def kept_time(folder: Path, change: Callable[[], object]) -> None:
    """Make a change in a folder that leaves its time as it was."""
    before = folder.stat()
    change()
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name", [".Trashes", ".Spotlight-V100", "__MACOSX", "lost+found"])
def test_folders_that_never_hold_data_are_not_looked_into(root: Path, name: str, forbid: Forbid) -> None:
    before = tree_digest(root)
    kept_time(root, (root / name).mkdir)
    forbid(root / name)
    assert tree_digest(root) == before
    assert [folder.name for folder in subfolders(root)] == ["happy", "sad"]


def test_a_folder_that_can_t_be_read_counts_by_its_name(root: Path, forbid: Forbid) -> None:
    seen = {tree_digest(root)}
    kept_time(root, (root / "private").mkdir)
    seen.add(tree_digest(root))
    forbid(root / "private", root / "other")
    seen.add(tree_digest(root))
    kept_time(root, lambda: (root / "private").rename(root / "other"))
    seen.add(tree_digest(root))
    assert len(seen) == 4


def test_a_folder_and_a_file_that_vanish_while_they_are_looked_at(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def gone(path: Any, **more: Any) -> os.stat_result:
        if str(path).endswith("more"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return stat(path, **more)

    before = tree_digest(root)
    monkeypatch.setattr(os, "stat", gone)
    assert tree_digest(root) != before
    assert tree_digest(root / "gone.csv") != tree_digest(root / "gone.tsv")


def test_names_that_are_no_text(root: Path) -> None:
    before = tree_digest(root)
    odd = root / "\udcff"  # the byte 255
    kept_time(root, odd.mkdir)
    (odd / "\udcfe.jpg").touch()
    assert tree_digest(root) != before
    assert tree_digest(odd / "\udcfe.jpg") != tree_digest(root / "happy" / "1.jpg")
    assert folders_digest(root, [odd.name]) != folders_digest(root, ["happy"])


def test_of_chosen_folders_only_what_lies_right_in_them_counts(root: Path) -> None:
    chosen = ["happy", "sad", "not there", "no\0name"]
    before = folders_digest(root, chosen)
    (root / "runs").mkdir()
    (root / "sad" / "more" / "4.jpg").touch()
    assert folders_digest(root, chosen) == before
    kept_time(root / "sad", (root / "sad" / "5.jpg").touch)
    seen = {before, folders_digest(root, chosen)}
    os.utime(root / "sad", ns=(1, 1))  # as when a picture is replaced by another of its name
    seen.add(folders_digest(root, chosen))
    (root / "not there").mkdir()
    seen.add(folders_digest(root, chosen))
    assert len(seen) == 4
