import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from emotion.errors import RunError
from emotion.training import checkpoint


def save(path: Path, number: int) -> None:
    checkpoint.AtomicCheckpointIO().save_checkpoint(
        {"number": number, "w": torch.full((1000,), float(number))}, path
    )


def number(path: Path) -> int:
    return checkpoint.newest(path)[1]["number"]


def test_the_newest_is_read(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        save(tmp_path / "last.ckpt", n)
    assert number(tmp_path / "last.ckpt") == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "last.previous.ckpt"]


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "text"])
def test_an_unreadable_last_falls_back(tmp_path: Path, damage: str) -> None:
    last = tmp_path / "last.ckpt"
    save(last, 1)
    save(last, 2)
    if damage == "missing":
        last.unlink()
    else:
        content = last.read_bytes()
        last.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    assert number(last) == 1


def test_nothing_readable_is_said(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(RunError, match=r"last.ckpt can't be read as a checkpoint"):
        checkpoint.newest(tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="found nothing at"):
        checkpoint.newest(tmp_path / "none.ckpt")


@pytest.mark.parametrize("where", ["in the middle of writing", "before the rename"])
def test_a_kill_in_the_middle_of_a_write_loses_nothing(tmp_path: Path, where: str) -> None:
    """With TMPDIR elsewhere: the temporary file must lie beside the target."""
    save(tmp_path / "last.ckpt", 1)
    code = f"""
        import os, signal, sys
        from pathlib import Path
        import torch
        from emotion.training import checkpoint
        kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
        if {where!r} == "before the rename":
            os.replace = kill
        else:
            save = torch.save
            def torn(data, part):
                save(data, part)
                content = Path(part).read_bytes()
                Path(part).write_bytes(content[: len(content) // 2])
                kill()
            torch.save = torn
        checkpoint.AtomicCheckpointIO().save_checkpoint({{"number": 2}}, {str(tmp_path / "last.ckpt")!r})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "TMPDIR": "/dev/shm"}, check=False
    )
    assert done.returncode == -9
    assert number(tmp_path / "last.ckpt") == 1


def test_nothing_read_from_a_file_is_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "executed"),))

    torch.save({"format": 1, "x": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(RunError, match="can't be read"):
        checkpoint.load_weights(tmp_path / "evil.ckpt")
    assert not (tmp_path / "executed").exists()


def test_an_unknown_format_names_the_version_that_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    checkpoint.save_weights(path, {})
    saved = checkpoint.load_weights(path)
    torch.save({**saved, "format": 99}, path)
    with pytest.raises(
        RunError, match=f"expected format 1, found format 99. It needs emotion {saved['version']}"
    ):
        checkpoint.load_weights(path)
    torch.save({"format": 99}, path)  # as earlier versions wrote it
    with pytest.raises(RunError, match="It needs emotion in the version that wrote it"):
        checkpoint.load_weights(path)


def test_another_run_s_checkpoint_is_refused(tmp_path: Path) -> None:
    contents = {"identity": "a" * 64, "epochs_done": 3}
    assert checkpoint.epochs_done(tmp_path / "x.ckpt", contents, "a" * 64) == 3
    with pytest.raises(RunError, match="belongs to the run aaaaaaaa, expected bbbbbbbb"):
        checkpoint.epochs_done(tmp_path / "x.ckpt", contents, "b" * 64)
