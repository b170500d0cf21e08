"""Small runs on drawn faces."""

from collections.abc import Callable
from pathlib import Path

import pytest

import emotion
from emotion.runs import RunFolder

TINY = (
    "data.count=140",
    "data.imbalance=0",
    "data.batch_size=16",
    "model=test_resnet",
    "trainer.max_epochs=2",
    "trainer.precision=fp32",
    "machine.devices=cpu",
    "machine.threads=1",
    "machine.workers=0",
)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunFolder]:
    """Trains with the given overrides on top of a tiny configuration, in tmp_path/runs.

    Without figures, which take most of the time; `finished` has them.
    """
    monkeypatch.setattr("emotion.training.scoring.write_figures", lambda *_: None)

    def train(*overrides: str) -> RunFolder:
        here = [f"machine.runs_dir={tmp_path}/runs", f"machine.cache_dir={cache_dir}"]
        return emotion.train([*TINY, *here, *overrides])

    return train


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> RunFolder:
    """One finished run with augmentation, shared by tests that only read."""
    here = [f"machine.runs_dir={tmp_path_factory.mktemp('shared')}", f"machine.cache_dir={cache_dir}"]
    return emotion.train([*TINY, *here, "augment=basic", "evaluation.tta=flip"])
