import errno
import fcntl
import itertools
import json
import math
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

import emotion
from emotion.data.datamodule import ExpressionDataModule
from emotion.data.dataset import open_store
from emotion.errors import ConfigError, RunError
from emotion.evaluation import predictions
from emotion.launch import compose
from emotion.models.classifier import ExpressionClassifier, validation_metrics
from emotion.runs import RunFolder
from emotion.training import checkpoint
from emotion.training.assemble import make_classifier, make_data
from emotion.training.callbacks import EpochKeeper
from emotion.training.folder import locked
from tests.training.conftest import TINY

Train = Callable[..., RunFolder]
FILES = (
    *(
        "config.yaml",
        "environment.json",
        "splits.json",
        "status.json",
        "metrics.csv",
        "metrics.json",
        "log.txt",
    ),
    *("checkpoints/best.ckpt", "report.html", "predictions/val.parquet", "predictions/test.parquet"),
    *("figures/learning_curves.png", "figures/confusion_matrix.png", "figures/class_distribution.png"),
    *("figures/augmentation_grid.png", "figures/mistakes.png"),
)


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(run.checkpoint("best"))["state_dict"]


def test_a_finished_run_has_everything_and_no_more_weights_than_the_best(finished: RunFolder) -> None:
    assert [name for name in FILES if not finished.file(name).is_file()] == []
    assert [p.name for p in finished.file("checkpoints").iterdir()] == ["best.ckpt"]
    assert finished.finished
    assert finished.status["epoch"] == 2
    assert {"torch", "timm", "emotion", "python"} <= set(finished.environment["versions"])
    assert finished.environment["threads"] == 1
    latest = finished.path.parent / "latest"
    assert latest.resolve() == finished.path
    assert {p.name for p in finished.path.parent.iterdir()} == {"latest", finished.name}


def test_every_part_carries_its_format(finished: RunFolder) -> None:
    for name in ("environment.json", "splits.json", "status.json", "metrics.json"):
        assert json.loads(finished.file(name).read_text())["format"] == 1
    assert checkpoint.load(finished.checkpoint("best"))["format"] == 1


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_are_those_of_the_prediction_tables(finished: RunFolder) -> None:
    for part in ("val", "test"):
        table = pl.read_parquet(finished.predictions(part))
        labels = table["label"].to_numpy()
        p = table.select(pl.selectors.starts_with("p/")).to_numpy().astype(np.float64)
        p /= p.sum(1, keepdims=True)
        found = finished.metrics[part]
        assert found["accuracy"] == pytest.approx(accuracy_score(labels, p.argmax(1)))
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, p.argmax(1)))
        assert found["f1_macro"] == pytest.approx(
            f1_score(labels, p.argmax(1), average="macro", labels=range(7), zero_division=0)
        )
        assert found["log_loss"] == pytest.approx(log_loss(labels, p, labels=range(7)), rel=1e-5)


def test_metrics_followed_in_training_equal_the_prediction_table_s(finished: RunFolder) -> None:
    """torchmetrics during training, NumPy from the table: the best epoch's row must be the table's scores."""
    best = finished.history().row(finished.status["best"]["epoch"], named=True)
    table = finished.metrics["val"]
    for name, other in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced_accuracy"),
                        ("f1_macro", "f1_macro"), ("loss", "log_loss")):  # fmt: skip
        assert best[f"val/{name}"] == pytest.approx(table[other], rel=1e-5), name


def test_each_sample_is_predicted_once_and_parts_are_disjoint(finished: RunFolder) -> None:
    val, test = (predictions.read(finished.predictions(part)) for part in ("val", "test"))
    counts = finished.splits["counts"]
    assert len(set(val.ids)) == len(val) == sum(counts["val"].values())
    assert len(set(test.ids)) == len(test) == sum(counts["test"].values())
    assert not set(val.ids) & set(test.ids)
    assert not set(val.groups) & set(test.groups)


def test_the_checkpoint_is_plain_data(finished: RunFolder) -> None:
    found = torch.load(finished.checkpoint("best"), weights_only=True)

    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(k, str) and plain(v) for k, v in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or type(value) in (str, int, float, bool, torch.Tensor)

    assert plain(found)
    assert found["classes"] == finished.splits["data"]["classes"]
    assert {"preparation", "device", "network", "identity", "config"} <= set(found)


def test_prediction_equals_the_run_s_own_tables(finished: RunFolder, cache_dir: Path, tmp_path: Path) -> None:
    """From arrays and from files, with the checkpoint's own preprocessing, and without the configuration's files."""
    config = compose(["data.count=140", "data.imbalance=0"])
    store = open_store(config.data, config.preprocess, cache_dir)
    table = predictions.read(finished.predictions("test"))
    rows = {sample: row for row, sample in enumerate(store.frame["id"])}
    images = [np.array(store.images[rows[sample]]) for sample in table.ids]
    alone = tmp_path / "alone"
    (alone / "checkpoints").mkdir(parents=True)
    shutil.copy(finished.checkpoint("best"), alone / "checkpoints")
    shutil.copy(finished.file("status.json"), alone)
    model = emotion.load_run(alone)
    np.testing.assert_allclose(model.probabilities(images), table.probabilities, atol=2e-5)
    files = []
    for number, image in enumerate(images[:5]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        files.append(tmp_path / f"{number}.png")
    np.testing.assert_allclose(model.probabilities(files), table.probabilities[:5], atol=2e-5)
    for one in (files[0], images[0]):  # one alone, whose rows of pixels are no images
        np.testing.assert_allclose(model.probabilities(one), model.probabilities(files[:1]), atol=1e-6)
    first = model.predict(files)[0]
    assert first.label == table.classes[table.predicted[0]]
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_same_again_is_skipped(finished: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.path.rglob("*") if p.is_file() and p.name != "lock"}
    config = finished.config
    emotion.train(
        ["data.count=140", "data.imbalance=0", "data.batch_size=16", "model=test_resnet", "trainer.max_epochs=2",
         "trainer.precision=fp32", "augment=basic", "evaluation.tta=flip",
         f"machine.runs_dir={config['machine']['runs_dir']}", f"machine.cache_dir={config['machine']['cache_dir']}"]
    )  # fmt: skip
    assert "Finished already, on 20" in capsys.readouterr().out
    assert before == {
        p: p.stat().st_mtime_ns for p in finished.path.rglob("*") if p.is_file() and p.name != "lock"
    }


def test_folders_of_any_name(run: Train, tmp_path: Path) -> None:
    """Brackets, stars and question marks are letters, not patterns."""
    folder = tmp_path / "a [b] * ? {c}, (d) = é"
    made = run("trainer.max_epochs=1", f"machine.cache_dir={folder}", f"machine.runs_dir={folder}/runs")
    assert made.finished
    assert made.history().height == 1
    assert predictions.read(made.predictions("test")).ids


def test_seeds_differ_and_the_same_seed_does_not(run: Train) -> None:
    zero, one = run("trainer.max_epochs=1"), run("trainer.max_epochs=1", "seed=1")
    assert zero.path != one.path
    assert not torch.equal(weights(zero)["head.1.weight"], weights(one)["head.1.weight"])
    assert zero.splits["hash"] == one.splits["hash"]  # scored on the same images
    first = {key: value.clone() for key, value in weights(zero).items()}
    again = run("trainer.max_epochs=1", "force=true")
    assert again.status["attempt"] == 2
    assert all(torch.equal(value, first[key]) for key, value in weights(again).items())
    assert (again.path / "attempts" / "1" / "status.json").is_file()
    assert (again.path / "attempts" / "1" / "report.html").is_file()


def test_test_scores_can_be_added_later(run: Train) -> None:
    early = run("evaluation.test=false")
    assert not early.has("test")
    assert "test" not in early.metrics
    best = early.checkpoint("best").stat().st_mtime_ns
    later = run()
    assert later.path == early.path
    assert later.has("test")
    assert "test" in later.metrics
    assert later.checkpoint("best").stat().st_mtime_ns == best  # nothing was trained again


@pytest.mark.parametrize("at", ["write_metrics", "report"])
def test_adding_test_scores_can_be_interrupted(run: Train, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    run("evaluation.test=false")
    with monkeypatch.context() as patched:
        patched.setattr(f"emotion.training.scoring.Scoring.{at}", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run()
    done = run()
    assert done.whole
    assert done.tested
    assert done.file("report.html").stat().st_mtime >= done.file("metrics.json").stat().st_mtime


def test_a_continued_run_took_as_long_as_all_its_sessions(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.scoring.Scoring.evaluate", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run()
    (status,) = tmp_path.glob("runs/drawn-*/status.json")
    before = json.loads(status.read_text())["seconds"]["total"]
    seconds = run().status["seconds"]
    assert before >= seconds["train"] > 0  # nothing was left to train
    assert seconds["total"] >= before + seconds["evaluate"]


@pytest.mark.parametrize("begun", ["device", "host"])
def test_a_continued_run_augments_where_it_was_begun(
    run: Train, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    """Begun beside a GPU and continued without, it equals what was never interrupted."""
    whole = run("augment=basic", f"augment.backend={begun}")
    validate = ExpressionClassifier.validation_step

    def interrupted(self: ExpressionClassifier, *batch: Any) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        validate(self, *batch)

    with monkeypatch.context() as patched:
        patched.setattr("emotion.data.augment.resolve_backend", lambda *_: begun)
        patched.setattr(ExpressionClassifier, "validation_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("augment=basic")
    other = {"device": "host", "host": "device"}[begun]
    monkeypatch.setattr("emotion.data.augment.resolve_backend", lambda *_: other)
    continued = run("augment=basic")
    assert continued.environment["augment_backend"] == begun
    assert continued.environment["earlier_sessions"][0]["augment_backend"] == begun
    assert continued.history()["val/loss"].to_list() == whole.history()["val/loss"].to_list()
    assert all(torch.equal(value, weights(whole)[key]) for key, value in weights(continued).items())


def test_a_run_that_died_at_once_says_how_far_it_is(tmp_path: Path) -> None:
    """A status is all that it has left."""
    (tmp_path / "status.json").write_text('{"format": 1, "state": "failed"}')
    with pytest.raises(RunError, match=r"has none yet \(its state is failed\)"):
        RunFolder.open(tmp_path).require_weights()


def test_two_processes_can_t_do_the_same_run(run: Train, tmp_path: Path) -> None:
    folder = run("trainer.max_epochs=1")
    pid = os.fork()
    if pid == 0:
        with locked(folder.path):
            (tmp_path / "held").touch()
            while not (tmp_path / "done").exists():
                pass
        os._exit(0)
    while not (tmp_path / "held").exists():
        pass
    with pytest.raises(RunError, match=rf"is being run by process {pid} on .* for 0 minutes"):
        run("trainer.max_epochs=1")
    (tmp_path / "done").touch()
    os.waitpid(pid, 0)


def test_a_run_whose_workers_outlive_it_can_be_typed_again(tmp_path: Path) -> None:
    """A killed run's workers hold its lock until they look for their parent."""
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    with (tmp_path / "lock").open("a+") as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        worker.write(json.dumps({"pid": gone, "host": socket.gethostname(), "since": 0}))
        worker.flush()
        threading.Timer(0.5, fcntl.flock, (worker, fcntl.LOCK_UN)).start()
        with locked(tmp_path):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("more", [[], ["callbacks.early_stopping.patience=1", "optimizer.lr=1e-12"]])
def test_weights_that_the_checkpoint_was_ahead_of_are_written_when_it_goes_on(
    run: Train, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """Cut off between last.ckpt and best.ckpt, in the middle and in the last epoch."""
    undisturbed = run(*more)
    best = checkpoint.load_weights(undisturbed.checkpoint("best"))
    saved = EpochKeeper._save

    def cut_off(keeper: EpochKeeper, state: Any, path: Path) -> None:
        if keeper.history[-1]["epoch"] == best["epoch"]:
            raise KeyboardInterrupt
        saved(keeper, state, path)

    with monkeypatch.context() as patched:
        patched.setattr(EpochKeeper, "_save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(*more, "force=true")
    continued = run(*more)
    again = checkpoint.load_weights(continued.checkpoint("best"))
    assert again["epoch"] == best["epoch"] == continued.status["best"]["epoch"]
    assert all(torch.equal(tensor, again["state_dict"][key]) for key, tensor in best["state_dict"].items())


def test_a_run_that_is_stopped_twice_says_how_far_it_is(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in ("scoring.Scoring.evaluate", "run.Run.fit"):
        with monkeypatch.context() as patched:
            patched.setattr(f"emotion.training.{at}", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                run()
    (status,) = tmp_path.glob("runs/drawn-*/status.json")
    known = json.loads(status.read_text())
    assert known["epoch"] == known["epochs"] > 0
    assert known["best"]["metric"] == "val/accuracy"


def test_a_fold_keeps_its_last_epoch_beside_the_selected_one(run: Train) -> None:
    fold = run("fold=1", "folds=3")
    best, last = (predictions.read(fold.predictions(part)) for part in ("val", "val_last"))
    assert fold.name.startswith("drawn-test_resnet-f1-")
    assert best.meta.selected_on_this_part
    assert not last.meta.selected_on_this_part
    assert best.ids == last.ids
    assert set(best.frame["fold"]) == {1}


def test_nan_stops_with_the_batch_s_images(run: Train) -> None:
    with pytest.raises(
        RunError, match=r"no longer a number, first in batch \d+ of epoch 0, with the images"
    ) as caught:
        run("optimizer=sgd", "optimizer.lr=1e30", "optimizer.nesterov=false", "optimizer.momentum=0")
    assert "optimizer.lr" in str(caught.value)
    named = str(caught.value).split("with the images ")[1].split(". A smaller")[0]
    assert named.endswith(" and 11 more")
    assert len(named.split(", ")) == 5


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_a_validation_loss_that_is_no_number_stops_before_anything_is_written(
    run: Train, tmp_path: Path, monitor: str
) -> None:
    """The only step of the only epoch breaks the weights: its own loss was still one of whole ones."""
    with pytest.raises(
        RunError, match=r"validation loss is no longer a number after epoch 0\. .*optimizer\.lr"
    ):
        run(
            *("optimizer=sgd", "optimizer.lr=1e30", "schedule=constant", "trainer.max_epochs=1"),
            *("trainer.limit_train_batches=1", f"trainer.monitor={monitor}"),
        )
    (folder,) = (tmp_path / "runs").glob("drawn-*")
    assert RunFolder.open(folder).status["state"] == "failed"
    assert not list(folder.glob("checkpoints/*"))
    assert not (folder / "metrics.csv").exists()


def test_one_image_without_an_answer_is_in_the_validation_loss() -> None:
    metrics = validation_metrics(2)
    metrics.update(torch.tensor([[0.5, 0.5], [math.nan, math.nan]]), torch.tensor([0, 1]))
    assert math.isnan(metrics.compute()["loss"])


def test_nan_is_never_written_however_seldom_it_is_looked_for(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the loss is looked at every so many steps, which may be after an epoch's last."""
    made = ExpressionClassifier.__init__

    def seldom(self: ExpressionClassifier, *arguments: Any, **keys: Any) -> None:
        made(self, *arguments, **{**keys, "check_every": 10_000})

    monkeypatch.setattr(ExpressionClassifier, "__init__", seldom)
    with pytest.raises(RunError, match=r"no longer a number"):
        run("optimizer=sgd", "optimizer.lr=1e30", "optimizer.nesterov=false", "trainer.max_epochs=1")
    assert not list((tmp_path / "runs").glob("*/checkpoints/*"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_gradients_are_clipped(run: Train, precision: str, optimizer: str) -> None:
    """Steps of plain SGD are then no longer than lr · norm; Adam's are of any length, but it has to train."""
    keys = [f"optimizer={optimizer}", "optimizer.lr=0.1", "optimizer.weight_decay=0", "trainer.max_epochs=1"]
    plain = ["optimizer.momentum=0", "optimizer.nesterov=false"] if optimizer == "sgd" else []
    clipped = run(
        *keys, *plain, f"trainer.precision={precision}", "trainer.gradient_clip=1e-6", "schedule=constant"
    )
    assert clipped.finished
    if optimizer == "sgd":
        small = run(
            *keys, *plain, "trainer.precision=fp32", "trainer.limit_train_batches=1", "schedule=constant"
        )
        now, other = weights(clipped), weights(small)
        names = [name for name in now if name.endswith("weight")]
        moved = [float((now[name] - other[name]).norm()) for name in names]
        assert max(moved) > 1e-3  # one step without clipping
        again = run(
            *keys, *plain, "trainer.precision=fp32", "trainer.gradient_clip=1e-7", "schedule=constant"
        )
        steps = len(clipped.history()) * 20
        assert max(float((now[name] - weights(again)[name]).norm()) for name in names) < steps * 0.1 * 2e-6


def test_a_last_step_of_fewer_batches_is_a_step_of_those(run: Train) -> None:
    """An epoch's three batches are added up to the same step, however many more a step might have had."""
    keys = ["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.lr=0.01"]
    short = ["schedule=constant", "trainer.max_epochs=1", "trainer.limit_train_batches=3"]
    three, six = (weights(run(*keys, *short, f"trainer.accumulate={n}")) for n in (3, 6))
    assert three.keys() == six.keys()
    for name in three:
        torch.testing.assert_close(six[name], three[name], msg=name)
    two = weights(run(*keys, *short, "trainer.accumulate=2"))
    assert any(not torch.allclose(two[name], three[name]) for name in three)


def test_the_history_has_the_learning_rate_that_was_stepped_with(run: Train) -> None:
    """A cycle's last step is nearly at zero, and the next one at full height."""
    trained = run("schedule=cyclic_cosine", "schedule.cycles=2", "trainer.max_epochs=4", "optimizer.lr=1e-3")
    rates = trained.history()["lr"].to_list()
    assert rates[1] == rates[3] < 1e-4 < rates[0] == rates[2]


def test_one_image_a_batch_and_a_norm_over_it_is_said(run: Train) -> None:
    with pytest.raises(RunError, match="data.batch_size: expected at least 2, found 1"):
        run("head=mlp", "head.batch_norm=true", "data.batch_size=1", "trainer.max_epochs=1")


def test_a_full_disk_is_said_and_the_run_goes_on(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = checkpoint.torch.save

    def full(contents: dict[str, Any], path: Path) -> None:
        if contents.get("epochs_done") == 2:
            raise RuntimeError(
                "[enforce fail at inline_container.cc:671] . unexpected pos 8689472 vs 8689364"
            )
        written(contents, path)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.torch, "save", full)
        with pytest.raises(
            RunError, match=r"checkpoints can't be written to .* MiB are free there.*machine.runs_dir"
        ):
            run()
    folder = RunFolder.open(next(p for p in (tmp_path / "runs").iterdir() if p.name != "latest"))
    assert folder.status["state"] == "failed"
    assert folder.checkpoint("last").is_file()

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.file("metrics.csv")))

    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.callbacks.write_history", no_room)
        with pytest.raises(RunError, match=r"fx-\w+ can't be written to \(No space left on device\)"):
            run()
    assert run().finished


def contents(run: RunFolder) -> dict[Path, bytes]:
    files = (path for path in run.path.rglob("*") if path.is_file() and path.name not in ("lock", "log.txt"))
    return {path.relative_to(run.path): path.read_bytes() for path in files}


@pytest.mark.parametrize("at", [0, 1, 4, None])
def test_an_interruption_before_a_new_attempt_loses_no_old_one(
    run: Train, monkeypatch: pytest.MonkeyPatch, at: int | None
) -> None:
    """At the first move, at a later one, and before the attempt has its number."""
    first = run("trainer.max_epochs=1")
    before = contents(first)
    moves = itertools.count()
    replace, rename = os.replace, Path.rename

    def moved(source: Path, target: Path) -> None:
        if "attempts" in str(target) and next(moves) == at:
            raise KeyboardInterrupt
        replace(source, target)

    def renamed(source: Path, target: Path) -> Path:
        if at is None and source.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.folder.os.replace", moved)
        patched.setattr(Path, "rename", renamed)
        with pytest.raises(KeyboardInterrupt):
            run("trainer.max_epochs=1", "force=true")
    assert run("trainer.max_epochs=1").path == first.path  # finished already, and whole
    assert contents(first) == before
    run("trainer.max_epochs=1", "force=true")
    assert sorted(p.name for p in (first.path / "attempts").iterdir()) == ["1"]


def test_fp16_needs_a_gpu(run: Train) -> None:
    with pytest.raises(
        ConfigError, match=r"trainer.precision: expected auto, bf16 or fp32 on a CPU, found fp16"
    ):
        run("trainer.precision=fp16")


def test_a_cluster_s_variables_change_nothing(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
                        "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert run("trainer.max_epochs=1").finished


def test_an_interruption_after_the_end_loses_nothing(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the last view is being published: the same command makes the report and doesn't train again."""
    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.scoring.Scoring.report", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("trainer.max_epochs=1")
    monkeypatch.setattr("emotion.training.run.Run.fit", lambda *_: pytest.fail("it trains again"))
    done = run("trainer.max_epochs=1")
    assert done.finished
    assert done.file("report.html").is_file()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_failed_run_says_so_and_continues(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **keys: object) -> None:
        raise RuntimeError("out of something")

    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.scoring.predict", broken)
        with pytest.raises(RuntimeError, match="out of something"):
            run()
    folder = RunFolder.open(next(p for p in (tmp_path / "runs").iterdir() if p.name != "latest"))
    assert folder.status["state"] == "failed"
    assert "out of something" in folder.status["message"]
    assert run().finished


def test_another_configuration_s_checkpoint_is_refused(run: Train, tmp_path: Path) -> None:
    from emotion.training import run as module

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module.Run, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    first = next(p for p in (tmp_path / "runs").iterdir())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module.Run, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("seed=5")
    second = next(p for p in (tmp_path / "runs").iterdir() if p != first)
    shutil.copy(first / "checkpoints" / "last.ckpt", second / "checkpoints" / "last.ckpt")
    with pytest.raises(RunError, match="a checkpoint of another configuration"):
        run("seed=5")
    assert RunFolder.open(first).status["state"] == "interrupted"


@pytest.mark.parametrize(
    "choice",
    [
        "schedule=plateau",
        "schedule=one_cycle",
        "optimizer=adadelta",
        "optimizer=rmsprop",
        "sampling=undersample",
        "loss=focal",
        "head=mlp",
    ],
)
def test_every_kind_of_part_trains(run: Train, choice: str) -> None:
    assert run(choice, "trainer.max_epochs=1", "trainer.limit_train_batches=2").finished


def test_early_stopping_stops(run: Train) -> None:
    stopped = run("callbacks.early_stopping.patience=1", "trainer.max_epochs=8", "optimizer.lr=1e-12")
    assert stopped.status["stopped_early"]
    assert len(stopped.history()) < 8


def test_a_run_that_stopped_early_is_not_trained_on(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from emotion.training import run as module

    overrides = ("callbacks.early_stopping.patience=1", "trainer.max_epochs=8", "optimizer.lr=1e-12")

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module.Run, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(*overrides)
    continued = run(*overrides)
    epochs = len(continued.history())
    undisturbed = run(*overrides, "force=true")
    assert epochs == len(undisturbed.history()) < 8


def test_normalising_statistics_come_from_the_training_part(finished: RunFolder, cache_dir: Path) -> None:
    """And would differ if they came from everything: the sabotage."""
    config = compose(["data.count=140", "data.imbalance=0"])
    store = open_store(config.data, config.preprocess, cache_dir)
    held_out = set(predictions.read(finished.predictions("val")).ids) | set(
        predictions.read(finished.predictions("test")).ids
    )
    rows = [row for row, sample in enumerate(store.frame["id"]) if sample not in held_out]
    pixels = np.array(store.images[rows]) / 255
    saved = checkpoint.load_weights(finished.checkpoint("best"))["device"]
    np.testing.assert_allclose(saved["mean"], pixels.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(saved["std"], pixels.std((0, 1, 2)), atol=1e-6)
    assert not np.allclose(saved["mean"], (np.array(store.images) / 255).mean((0, 1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [
        ("unit", lambda x: x / 255),
        ("raw", lambda x: x),
        ("pretrained", lambda x: (x / 255 - 0.45) / 0.22),
        ("unshifted", lambda x: x / 255 / 0.22),
    ],
)
def test_what_a_network_sees_of_a_pixel(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch, statistics: str, expected: Callable[[float], float]
) -> None:
    monkeypatch.setattr(
        "emotion.training.assemble.door.published", lambda name: {"mean": (0.45,) * 3, "std": (0.22,) * 3}
    )
    config = compose([*TINY, f"preprocess.statistics={statistics}"])
    store = open_store(config.data, config.preprocess, cache_dir)
    device = torch.device("cpu")
    module = make_classifier(config, make_data(config, store, device), device, True).device_module
    size = store.size_px
    seen = module(torch.full((1, size, size, store.channels), 100, dtype=torch.uint8))
    torch.testing.assert_close(seen, torch.full_like(seen, expected(100.0)))


def test_what_was_left_out_of_the_data_is_said_and_listed(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion.training.scoring.write_figures", lambda *_: None)
    rng = np.random.default_rng(0)
    for name in ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"):
        for part, prefix, count in (
            ("train", "Training", 12),
            ("test", "PublicTest", 3),
            ("test", "PrivateTest", 3),
        ):
            folder = tmp_path / "fer" / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (48, 48), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{prefix}_{name}{number}.jpg")
    (tmp_path / "fer" / "train" / "happy" / "Training_text.jpg").write_text("not an image")
    overrides = ["data=fer2013", f"data.root={tmp_path}/fer", "model=test_resnet", "trainer.max_epochs=1",
                 "machine.threads=1", "trainer.precision=fp32", f"machine.runs_dir={tmp_path}/runs",
                 f"machine.cache_dir={tmp_path}/cache"]  # fmt: skip
    said = "Rows left out: 1, of which 1 unreadable image (the first: train/happy/Training_text.jpg"
    done = emotion.train(overrides)
    assert said in capsys.readouterr().out
    emotion.train(overrides)
    again = capsys.readouterr().out
    assert "Finished already" in again
    assert said in again
    assert "Training_text.jpg" in done.file("rejected.csv").read_text()
    assert done.splits["data"]["rejected"] == {"unreadable image": 1}


def test_two_classes_with_nearly_all_images_are_noted_in_the_run(run: Train) -> None:
    merged = "{negative:[anger,fear,sadness,surprise],other:[happiness,neutral],rare:[disgust]}"
    notes = run(f"data.classes={merged}", "data.imbalance=8", "trainer.max_epochs=1").splits["data"]["notes"]
    said = [note for note in notes if "of the images: accuracy says little" in note]
    assert len(said) == 1
    assert "negative" in said[0]
    assert "rare" not in said[0]


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
def test_batches_are_pinned_for_a_gpu_alone(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch, device: str, pinned: bool
) -> None:
    """With machine.devices=cpu the GPU, which may be full, isn't touched, though it is there."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    config = compose([*TINY, "machine.images=host"])
    store = open_store(config.data, config.preprocess, cache_dir)
    assert make_data(config, store, torch.device(device)).train_dataloader().pin_memory == pinned


@pytest.mark.parametrize(
    ("overrides", "device", "memory", "expected"),
    [
        ([], "cuda", 11, True),
        ([], "cuda", 9, False),
        (["machine.jobs=2"], "cuda", 19, False),
        (["machine.jobs=2"], "cuda", 21, True),
        (["data.classes=[anger,fear]"], "cuda", 11, True),
        ([], "cpu", 11, False),
        (["machine.images=host"], "cuda", 11, False),
        (["machine.images=device"], "cuda", 9, True),
        (["machine.images=device", "augment=trivial"], "cuda", 11, False),
    ],
)
def test_images_lie_on_a_gpu_that_has_room(
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    device: str,
    memory: int,
    expected: bool,
) -> None:
    config = compose([*TINY, *overrides])
    store = open_store(config.data, config.preprocess, cache_dir)
    gpu = SimpleNamespace(total_memory=memory * np.asarray(store.images).nbytes)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: gpu)
    assert make_data(config, store, torch.device(device)).resident == expected


def test_where_images_lie_changes_no_weight(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = run("augment=basic", "augment.backend=device")
    first = {key: value.clone() for key, value in weights(sent).items()}
    asked = []
    look_up = ExpressionDataModule._images_on

    def seen(self: ExpressionDataModule, device: torch.device) -> torch.Tensor:
        asked.append(device)
        return look_up(self, device)

    monkeypatch.setattr(ExpressionDataModule, "_images_on", seen)
    kept = run("augment=basic", "augment.backend=device", "machine.images=device", "force=true")
    assert asked
    assert "All images lie on cpu" in kept.file("log.txt").read_text()
    assert kept.path == sent.path  # it isn't part of the identity
    assert all(torch.equal(value, first[key]) for key, value in weights(kept).items())


def test_a_compiled_network_learns_the_same_and_keeps_its_names(
    run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torch's backend that traces and generates no code, which would need a C++ compiler."""
    compiled = []
    compile_ = torch.compile

    def traced(function: Any, *arguments: Any, **keys: Any) -> Any:
        compiled.append(function)
        return compile_(function, *arguments, **keys, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    one, other = run("trainer.max_epochs=1"), run("trainer.max_epochs=1", "trainer.compile=true")
    assert len(compiled) == 1
    assert one.name != other.name
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(other)[name], tensor, msg=name)
