"""`emotion data draw`: trees in the published layouts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emotion.data import mimic
from emotion.errors import DataError


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_draws_the_same_tree(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        mimic.draw("expw", tmp_path / name, 10, seed)
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match="holds files"):
        mimic.draw("expw", tmp_path, 10, 0)


@pytest.mark.parametrize(
    ("form", "count", "message"),
    [("expww", 10, "found 'expww'"), ("expw", 3, "at least 8, one picture a class")],
)
def test_what_can_t_be_drawn(form: str, count: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        mimic.draw(form, tmp_path / "x", count, 0)
    assert not (tmp_path / "x").exists()


def test_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from emotion.cli import main; main()", "data", "draw", str(tmp_path / "x"),
         "--as", "raf_db", "--count", "14"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert (
        "14 pictures in the layout of raf_db; on purpose also 1 × missing file, 2 × unknown label."
        in done.stdout
    )
    assert f"python train.py data=raf_db data.root={tmp_path / 'x'}" in done.stdout
