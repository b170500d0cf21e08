"""Interrupted and continued equals uninterrupted, bit for bit: weights, history and predictions.

With what makes that hard: bf16, depthwise convolutions with gradients of ours, dropout, BatchNorm, a plateau schedule,
oversampling, mixup and cutmix, deferred weights, augmentation, two workers, a temporary folder on another file system,
layers that are frozen at first, a penalty and a bound of weights.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest
import torch

from emotion.runs import RunFolder, find
from emotion.training import checkpoint

OVERRIDES = [
    "data.count=140",
    "data.imbalance=1",
    "data.batch_size=16",
    "model=test_efficientnet",
    "model.drop_rate=0.3",
    "model.freeze=[backbone.conv_stem,backbone.bn1,backbone.blocks.0,backbone.blocks.1]",
    "model.freeze_epochs=1",
    "model.l2=0.001",
    "model.max_norm=1",
    "head.dropout=0.2",
    "augment=basic",
    "sampling=oversample",
    "loss=ldam",
    "loss.class_weights=effective",
    "loss.weights_from_epoch=2",
    "trainer.mixup=0.3",
    "trainer.cutmix=1.0",
    "schedule=plateau",
    "schedule.patience=0",
    "trainer.max_epochs=4",
    "fold=0",
    "folds=2",
    "trainer.precision=bf16",
    "machine.devices=cpu",
    "machine.threads=1",
    "machine.workers=2",
]

RUNNER = """
    import os, signal, sys
    import torch
    import emotion
    from emotion.models.classifier import ExpressionClassifier
    from emotion.models.network import Network
    from emotion.training import checkpoint, scoring

    scoring.write_figures = lambda *_: None
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
    where = sys.argv[1]
    if where == "training":
        step = ExpressionClassifier.training_step
        def killed(self, batch, batch_idx):
            if self.current_epoch == 1 and batch_idx == 3:
                kill()
            return step(self, batch, batch_idx)
        ExpressionClassifier.training_step = killed
    elif where == "validation":
        validate = ExpressionClassifier.validation_step
        def killed(self, batch, batch_idx):
            if self.current_epoch == 2:
                kill()
            return validate(self, batch, batch_idx)
        ExpressionClassifier.validation_step = killed
    elif where == "checkpoint":
        save = torch.save
        def torn(data, part, *rest):
            save(data, part, *rest)
            if data.get("epoch") == 2 and "loops" in data:
                content = open(part, "rb").read()
                open(part, "wb").write(content[: len(content) // 2])
                kill()
        torch.save = torn
    elif where == "no reseeding":
        ExpressionClassifier.on_train_batch_start = lambda self, batch, batch_idx: None
        step = ExpressionClassifier.training_step
        def killed(self, batch, batch_idx):
            if self.current_epoch == 1 and batch_idx == 3 and len(sys.argv) > 2 and sys.argv[2] == "kill":
                kill()
            return step(self, batch, batch_idx)
        ExpressionClassifier.training_step = killed
    elif where == "thawing only in its epoch":
        thaw = Network.unfreeze
        Network.unfreeze = lambda self: None if len(sys.argv) > 2 and sys.argv[2] == "continued" else thaw(self)
        validate = ExpressionClassifier.validation_step
        def killed(self, batch, batch_idx):
            if self.current_epoch == 2 and len(sys.argv) > 2 and sys.argv[2] == "kill":
                kill()
            return validate(self, batch, batch_idx)
        ExpressionClassifier.validation_step = killed
    emotion.train(OVERRIDES)
"""


def start(runs: Path, cache: Path, *how: str) -> int:
    overrides = [*OVERRIDES, f"machine.runs_dir={runs}", f"machine.cache_dir={cache}"]
    code = textwrap.dedent(RUNNER).replace("OVERRIDES", repr(overrides))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *how],
        env={**os.environ, "TMPDIR": "/dev/shm", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def only(runs: Path) -> RunFolder:
    (found,) = find(runs)
    return RunFolder.open(found.path)


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """What two runs don't share: the check that the sabotage below must fail."""
    found = []
    first, second = (checkpoint.load_weights(run.checkpoint("best"))["state_dict"] for run in (one, other))
    found += [key for key in first if not torch.equal(first[key], second[key])]
    found += [] if one.status["best"] == other.status["best"] else ["best epoch"]
    for part in ("val", "test", "val_last"):
        tables = [pl.read_parquet(run.predictions(part)) for run in (one, other)]
        found += [] if tables[0].equals(tables[1]) else [part]
    timeless = [run.history().drop("seconds", "images_per_s") for run in (one, other)]
    found += [] if timeless[0].equals(timeless[1]) else ["history"]
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> RunFolder:
    runs = tmp_path_factory.mktemp("undisturbed")
    assert start(runs, cache_dir, "nowhere") == 0
    return only(runs)


def test_killed_three_times_equals_undisturbed(
    undisturbed: RunFolder, tmp_path: Path, cache_dir: Path
) -> None:
    for where in ("training", "validation", "checkpoint"):
        assert start(tmp_path, cache_dir, where) == -9, where
        assert only(tmp_path).status["state"] == "running"
    assert list(tmp_path.rglob(".*.part")), "the kill came too late to tear a file"
    assert start(tmp_path, cache_dir, "nowhere") == 0
    assert list(tmp_path.rglob(".*.part")) == []
    assert only(tmp_path).finished
    assert differences(undisturbed, only(tmp_path)) == []
    assert "Continuing from checkpoints/" in only(tmp_path).file("log.txt").read_text()


@pytest.mark.slow
def test_without_reseeding_it_would_differ(tmp_path: Path, cache_dir: Path) -> None:
    """The sabotage: a continued run whose dropout goes on from a fresh generator."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole, cache_dir, "no reseeding") == 0
    assert start(broken, cache_dir, "no reseeding", "kill") == -9
    assert start(broken, cache_dir, "no reseeding") == 0
    assert differences(only(whole), only(broken)) != []


@pytest.mark.slow
def test_layers_that_a_continued_run_leaves_frozen_would_differ(
    undisturbed: RunFolder, tmp_path: Path, cache_dir: Path
) -> None:
    """The sabotage: a process that doesn't notice that the frozen epochs lie behind it."""
    assert start(tmp_path, cache_dir, "thawing only in its epoch", "kill") == -9
    assert start(tmp_path, cache_dir, "thawing only in its epoch", "continued") == 0
    assert differences(undisturbed, only(tmp_path)) != []
