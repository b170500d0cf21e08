"""Weights & Biases as a view: what W&B would get, read back from the files that it writes without a network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from emotion.commands.wandb import sync
from emotion.errors import RunError
from emotion.evaluation import predictions
from emotion.launch import compose
from emotion.models.classifier import ExpressionClassifier
from emotion.reporting.sweep import write_tables
from emotion.reporting.wandb_view import WandbView, sync_run, sync_sweep
from emotion.runs import RunFolder
from emotion.schema.machine import WandbLogger
from emotion.sweeps import SweepFolder
from emotion.training import queue
from emotion.training.derived import write_ensemble
from emotion.training.jobs import Wanted, prepared
from tests.reporting import fakes
from tests.reporting.wandb_files import Shown, shown_in
from tests.training.conftest import TINY

Train = Callable[..., RunFolder]
OFFLINE = WandbLogger(mode="offline")


@pytest.fixture(autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path_factory.mktemp("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(there))


def curves(shown: Shown, *names: str) -> list[list[Any]]:
    """The epochs' rows of a history, those of the end left out."""
    return [[row[name] for name in ("_step", *names)] for row in shown.history if "val/accuracy" in row]


def only(folder: Path) -> Shown:
    (shown,) = shown_in(folder)
    return shown


@pytest.fixture
def sweep(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    """Two folds, trained one after the other in this process, and their table."""
    overrides = [
        (*TINY, f"machine.runs_dir={tmp_path}/runs", f"machine.cache_dir={cache_dir}", "logger=wandb",
         "folds=2", f"fold={fold}") for fold in (0, 1)
    ]  # fmt: skip
    jobs = prepared([Wanted(each, compose(each)) for each in overrides])
    SweepFolder.of(jobs).write()
    from emotion.training.train import train

    for job in jobs:
        train(job.config)
    made = SweepFolder.open(SweepFolder.of(jobs).path)
    write_tables(made)
    queue._show_in_wandb(made, jobs)
    return made


def test_an_unknown_format_names_the_version_that_reads_it(tmp_path: Path) -> None:
    (tmp_path / "wandb.json").write_text('{"format": 2, "version": "9.1"}')
    with pytest.raises(
        RunError, match=r"expected format 1, found format 2\. It needs emotion 9\.1 or a later one"
    ):
        sync_sweep(SweepFolder(tmp_path, ()), OFFLINE)


def test_a_sweep_as_w_and_b_gets_it(sweep: SweepFolder) -> None:
    """Two W&B runs although one process made them, and one of the table."""
    ids = set()
    for fold, run in enumerate(sweep.runs()):
        shown = only(run.path)
        ids.add(shown.id)
        assert shown.id == json.loads(run.file("wandb.json").read_text())["id"]
        assert (shown.name, shown.group, shown.job_type) == (run.name, sweep.path.name, f"fold-{fold}")
        assert (shown.project, shown.exit_code) == ("emotion", 0)
        assert shown.config["model"]["name"] == "test_resnet"
        assert "machine" not in shown.config
        assert "root" not in shown.config["data"]  # a path is nobody's business
        history = run.history()
        assert curves(shown, "epoch", "train/loss", "val/accuracy", "optimizer/lr") == [
            [row["epoch"], row["epoch"], row["train/loss"], row["val/accuracy"], row["lr"]]
            for row in history.to_dicts()
        ]
        test = predictions.read(run.predictions("test"))
        assert shown.summary["final/test/accuracy"] == pytest.approx((test.predicted == test.labels).mean())
        table = shown.table("predictions/test")
        ours = dict(zip(test.ids, test.probabilities, strict=True))
        for row in table["data"]:
            cells = dict(zip(table["columns"], row, strict=True))
            assert cells["p/anger"] == pytest.approx(ours[cells["id"]][test.classes.index("anger")])
        (with_pictures,) = (
            files for files in shown.artifacts["run_table"] if "predictions/test.table.json" in files
        )
        assert sum(name.startswith("media/images/") for name in with_pictures) == len(table["data"])
        assert len(shown.table("classes/test")["data"]) == 7
        for chart in ("curves/roc_test", "curves/pr_test", "calibration/test", "confusion/final_test"):
            assert shown.table(f"{chart}_table")["data"], chart
        assert shown.artifacts["report"] == [
            ["config.yaml", "environment.json", "report.html", "splits.json"]
        ]
        assert "model" not in shown.artifacts  # only on request
    assert len(ids) == 2
    table = only(sweep.path)
    assert (table.group, table.job_type, table.exit_code) == (sweep.path.name, "sweep-table", 0)
    assert table.table("sweep/table")["data"][0][:2] == [2, 2]  # jobs, finished


def test_every_epoch_has_its_confusion_matrix(run: Train) -> None:
    trained = run("logger=wandb", "trainer.max_epochs=2")
    shown = only(trained.path)
    for row, counts in zip(trained.history().to_dicts(), trained.confusions, strict=True):
        assert np.trace(counts) / np.sum(counts) == pytest.approx(row["val/accuracy"])
        logged = next(h for h in shown.history if h["_step"] == row["epoch"])
        table = json.loads((shown.folder / "files" / logged["confusion/val_table.path"]).read_text())
        assert [cell[2] for cell in table["data"]] == np.array(counts).ravel().tolist()
    best = predictions.read(trained.predictions("val"))
    expected = np.zeros((7, 7), int)
    np.add.at(expected, (best.labels, best.predicted), 1)
    assert trained.confusions[trained.status["best"]["epoch"]] == expected.tolist()


@pytest.mark.parametrize(
    ("error", "exit_code"), [(RunError("the disk is on fire"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_crash_shows_and_a_continued_run_is_one_run(
    error: BaseException, exit_code: int, run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline W&B makes two runs of one id that is used twice, so the file is written anew."""
    step = ExpressionClassifier.training_step

    def broken(self: ExpressionClassifier, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1:
            raise error
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ExpressionClassifier, "training_step", broken)
    with pytest.raises(type(error)):
        run("logger=wandb")
    monkeypatch.setattr(ExpressionClassifier, "training_step", step)
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    crashed = only(folder)
    assert crashed.exit_code == exit_code
    assert len(curves(crashed)) == 1
    continued = only(run("logger=wandb").path)
    assert (continued.id, continued.exit_code) == (crashed.id, 0)
    assert [row[0] for row in curves(continued)] == [0, 1]
    forced = only(run("logger=wandb", "force=true").path)  # another attempt is another W&B run
    assert forced.id != crashed.id
    assert forced.name.endswith("(attempt 2)")


def test_nothing_is_lost_without_w_and_b(run: Train, capsys: pytest.CaptureFixture[str]) -> None:
    """`emotion wandb sync` builds what a live W&B run would have shown, as often as one likes."""
    live = only(run("logger=wandb", "seed=1").path)
    later = run("seed=1", "force=true")
    assert not later.file("wandb.json").exists()
    sync([later.path], WandbLogger(mode="offline", log_model=True))
    first = only(later.path)
    sync([later.path], WandbLogger(mode="offline", log_model=True))
    second = only(later.path)
    assert first.id == second.id != live.id
    assert "model" in second.artifacts
    same = [name for name in later.history().columns if name.startswith(("train/", "val/"))]
    assert curves(first, *same) == curves(second, *same) == curves(live, *same)
    columns = [name for name in live.summary if name.startswith("final/") or "table_" in name]
    assert {name: live.summary[name] for name in columns} == {name: second.summary[name] for name in columns}


class FakeOnline:
    """A W&B run on a server that has `step` steps already."""

    def __init__(self, step: int, summary: dict[str, Any]) -> None:
        self.id, self.url, self.offline, self.step, self.summary = "x", "https://w", False, step, summary
        self.steps: list[int] = []
        self.exit_code: int | None = None

    def log(self, values: dict[str, Any], step: int, commit: bool) -> None:
        assert step >= self.step, "W&B would drop it"
        self.step = step + 1
        self.steps.append(step)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log_artifact(self, *_: Any) -> None: ...


def test_online_a_run_is_resumed_after_what_the_server_has(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    server = FakeOnline(1, {})

    def init(**arguments: Any) -> FakeOnline:
        asked.append(arguments)
        return server

    monkeypatch.setattr(wandb, "init", init)
    online = WandbLogger(mode="online")
    sync_run(finished, online)  # the server has epoch 0 of two
    assert server.steps == [1, 2]
    sync_run(finished, online)
    assert server.steps == [1, 2]  # nothing is shown twice
    assert asked[0]["id"] == asked[1]["id"]
    assert {(each["resume"], each["reinit"]) for each in asked} == {("allow", "create_new")}
    finished.file("wandb.json").unlink()


def test_a_run_goes_on_without_w_and_b(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise wandb.Error("no account")

    monkeypatch.setattr(wandb, "init", refuse)
    trained = run("logger=wandb")
    assert trained.finished
    assert "no account" in trained.file("log.txt").read_text()


def test_a_view_that_breaks_is_left(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("the socket is gone")

    monkeypatch.setattr(WandbView, "epoch", broken)
    monkeypatch.setattr("emotion.reporting.wandb_view._begin", lambda *_, **__: FakeOnline(0, {}))
    trained = run("logger=wandb")
    assert trained.finished
    assert trained.file("log.txt").read_text().count("the socket is gone") == 1


def test_weights_that_are_not_there_are_no_traceback(tmp_path: Path) -> None:
    runs = [fakes.make_run(tmp_path, count=60, hash8=f"{number:08x}") for number in (1, 2)]
    made = write_ensemble(runs, tmp_path / "both", "emotion ensemble …")
    with pytest.raises(RunError, match="it is made of other runs' predictions"):
        sync([made.path], WandbLogger(mode="offline", log_model=True))


def test_a_second_logger(run: Train) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained = run("logger=tensorboard")
    found = EventAccumulator(str(trained.file("tensorboard")))
    found.Reload()
    history = trained.history()
    scalars = found.Scalars("val/accuracy")
    assert [s.step for s in scalars] == history["epoch"].to_list()
    assert [s.value for s in scalars] == pytest.approx(history["val/accuracy"].to_list())


def test_several_loggers_at_once() -> None:
    config = compose(["logger=wandb", "logger.also=[tensorboard]", "logger.project=faces"])
    assert [one.name for one in config.logger.chosen()] == ["wandb", "tensorboard"]  # type: ignore[attr-defined]
