import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_an_installed_wheel_trains_without_the_checkout(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("emotion-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "site")
    assert {"emotion/conf/train.yaml", "emotion/conf/experiment/demo.yaml", "emotion/py.typed"} <= set(names)
    assert any(name.startswith("emotion/experiments/first_light/") for name in names)
    code = f"""
import emotion
assert emotion.__file__.startswith({str(tmp_path)!r})
run = emotion.train(["data.count=140", "data.imbalance=0", "model=test_resnet", "trainer.max_epochs=1",
                     "machine.cache_dir=cache", "machine.threads=1", "trainer.precision=fp32"])
assert run.finished
"""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path)},
    )
