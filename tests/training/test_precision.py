"""What `trainer.precision=auto` comes to."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from emotion.errors import ConfigError
from emotion.launch import compose
from emotion.runs import RunFolder
from emotion.training import precision
from emotion.training.precision import possible
from emotion.training.train import train
from tests.training.conftest import TINY


def test_fp16_is_refused_on_a_cpu_alone() -> None:
    assert possible("fp16", torch.device("cuda")) == "fp16"
    assert possible("bf16", torch.device("cpu")) == "bf16"
    with pytest.raises(ConfigError, match="found fp16, which needs a GPU"):
        possible("fp16", torch.device("cpu"))


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_auto_is_measured_once_and_a_resume_keeps_it(
    run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, faster: str, tmp_path: Path
) -> None:
    """The identity holds what was typed; environment.json what it came to."""
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "_measure", lambda *_: faster)
    auto = ["trainer.precision=auto", f"machine.cache_dir={tmp_path}/cache", "trainer.max_epochs=2"]
    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.run.Run.finish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(*auto)
    monkeypatch.setattr(precision, "_measure", lambda *_: pytest.fail("it is measured again"))
    monkeypatch.setattr(precision, "resolve", lambda *_: pytest.fail("it is resolved again"))
    done = run(*auto)
    assert done.environment["precision"] == faster
    assert done.config["trainer"]["precision"] == "auto"


def test_the_jobs_of_a_sweep_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Though another machine, or this one on another day, would find another precision the faster one."""
    answers = iter(["bf16", "fp32", "bf16"])
    monkeypatch.setattr("emotion.training.scoring.write_figures", lambda *_: None)
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "_measure", lambda *_: next(answers))
    found = []
    for seed, sweep in enumerate([tmp_path / "sweep", tmp_path / "sweep", None]):
        here = [f"machine.runs_dir={tmp_path}/runs", f"machine.cache_dir={tmp_path}/cache{seed}"]
        config = compose([*TINY, "trainer.precision=auto", "trainer.max_epochs=1", f"seed={seed}", *here])
        found.append(train(config, sweep=sweep).environment["precision"])
    assert found == ["bf16", "bf16", "fp32"]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
