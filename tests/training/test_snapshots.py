"""Weights at the ends of a cyclic schedule's cycles, what they answer, and their average."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import emotion
from emotion.cli import app
from emotion.data.dataset import open_store
from emotion.errors import DataError
from emotion.evaluation import predictions
from emotion.models.classifier import ExpressionClassifier
from emotion.predictor import Predictor
from emotion.runs import RunFolder
from emotion.schema import validate
from emotion.training import checkpoint
from emotion.training.callbacks import EpochKeeper
from tests.training.conftest import TINY

Train = Callable[..., RunFolder]
CYCLIC = ("schedule=cyclic_cosine", "schedule.cycles=3", "trainer.max_epochs=6", "model.drop_rate=0.3")


@pytest.fixture(scope="module")
def cyclic(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> RunFolder:
    here = [f"machine.runs_dir={tmp_path_factory.mktemp('cyclic')}", f"machine.cache_dir={cache_dir}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotion.training.scoring.write_figures", lambda *_: None)
        return emotion.train([*TINY, *here, *CYCLIC])


def weights(run: RunFolder, number: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load_weights(run.snapshot_weights(number))["state_dict"]
    return found


def alike(one: RunFolder, other: RunFolder) -> bool:
    """The check that the sabotage below must fail."""
    return all(
        torch.equal(tensor, weights(other, number)[key])
        for number in (1, 2, 3)
        for key, tensor in weights(one, number).items()
    )


def test_the_last_epoch_of_each_cycle_is_kept(cyclic: RunFolder) -> None:
    epochs = [checkpoint.load_weights(cyclic.snapshot_weights(n))["epoch"] for n in (1, 2, 3)]
    assert epochs == [1, 3, 5]
    assert not cyclic.snapshot_weights(4).exists()
    assert cyclic.finished
    assert "3 snapshots were kept" in cyclic.file("log.txt").read_text()


@pytest.mark.parametrize("torn", [False, True])
def test_a_snapshot_that_was_cut_off_is_made_from_the_checkpoint(
    cyclic: RunFolder, tmp_path: Path, cache_dir: Path, torn: bool
) -> None:
    """Whether nothing of it is there, or something that can't be read."""
    here = [f"machine.runs_dir={tmp_path}", f"machine.cache_dir={cache_dir}"]
    saved = EpochKeeper._save

    def cut_off(keeper: EpochKeeper, state: Any, path: Path) -> None:
        if path.name == "snapshot_2.ckpt":
            if torn:
                path.write_bytes(b"half")
            raise KeyboardInterrupt
        saved(keeper, state, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotion.training.scoring.write_figures", lambda *_: None)
        with patch.context() as interrupted:
            interrupted.setattr(EpochKeeper, "_save", cut_off)
            with pytest.raises(KeyboardInterrupt):
                emotion.train([*TINY, *here, *CYCLIC])
        assert alike(cyclic, emotion.train([*TINY, *here, *CYCLIC]))


def test_what_a_snapshot_answers_is_what_its_weights_answer(cyclic: RunFolder) -> None:
    (first, *_) = cyclic.snapshots("test")
    table = predictions.read(first)
    assert not table.meta.selected_on_this_part
    predictor = Predictor(checkpoint.load_weights(cyclic.snapshot_weights(1)))
    config = validate(cyclic.config)
    store = open_store(config.data, config.preprocess, config.machine.cache_dir)
    row = store.frame["id"].to_list().index(table.ids[0])
    found = predictor.stored_probabilities(store.images, np.array([row]), torch.device("cpu"))
    np.testing.assert_allclose(found[0], table.probabilities[0], atol=1e-5)


def test_an_ensemble_of_one_run_averages_its_snapshots(cyclic: RunFolder, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["ensemble", str(cyclic.path), "-o", str(tmp_path / "mean")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    mean = RunFolder.open(tmp_path / "mean")
    for part in ("val", "test"):
        tables = [predictions.read(path) for path in cyclic.snapshots(part)]
        by_hand = np.mean([table.probabilities for table in tables], axis=0)
        np.testing.assert_allclose(predictions.read(mean.predictions(part)).probabilities, by_hand, atol=1e-6)
    cost = cyclic.metrics["cost"]
    assert mean.metrics["cost"]["parameters"] == 3 * cost["parameters"]
    assert mean.metrics["cost"]["train_s"] == cost["train_s"]  # one training made all of them
    assert mean.config["name"] == "average of 3 snapshots"


def test_a_run_without_snapshots_is_no_ensemble(finished: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one with snapshots \(schedule=cyclic_cosine\)"):
        CliRunner().invoke(
            app, ["ensemble", str(finished.path), "-o", str(tmp_path / "mean")], catch_exceptions=False
        )


def interrupted(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second epoch of the second cycle."""
    step = ExpressionClassifier.training_step

    def stopped(self: ExpressionClassifier, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 3 and batch_idx == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(ExpressionClassifier, "training_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(*CYCLIC)


def test_a_continued_run_keeps_the_same_weights(
    cyclic: RunFolder, run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(run, monkeypatch)
    assert alike(cyclic, run(*CYCLIC))


def test_a_cycle_that_begins_anew_would_be_noticed(
    cyclic: RunFolder, run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(run, monkeypatch)
    monkeypatch.setattr(torch.optim.lr_scheduler.LambdaLR, "load_state_dict", lambda self, state: None)
    assert not alike(cyclic, run(*CYCLIC))


def test_the_test_part_is_added_for_snapshots_too(run: Train) -> None:
    without = run(*CYCLIC, "trainer.max_epochs=3", "evaluation.test=false")
    assert (len(without.snapshots("val")), len(without.snapshots("test"))) == (3, 0)
    assert len(run(*CYCLIC, "trainer.max_epochs=3").snapshots("test")) == 3
