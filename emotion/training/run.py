"""One run: from a checked configuration to predictions, metrics and a report, continued wherever it was left."""

import contextlib
import errno
import logging
import math
import time
import traceback
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from rich.console import Console

from emotion import atomic
from emotion.data.augment import Backend
from emotion.data.cache import default_cache_dir
from emotion.data.datamodule import ExpressionDataModule
from emotion.data.skew import skew_notes
from emotion.data.splits import OFFICIAL_TEST, Split
from emotion.data.store import Store
from emotion.data.table import rejected_line
from emotion.errors import EmotionError, RunError
from emotion.models.classifier import ExpressionClassifier
from emotion.reporting import numbers
from emotion.runs import FORMAT, RunFolder, TableName
from emotion.schema import RunConfig
from emotion.training import checkpoint, compilation, environment, precision
from emotion.training.assemble import (
    choose_device,
    data_line,
    make_classifier,
    make_data,
    network_line,
    probe_batch,
)
from emotion.training.callbacks import Bar, EpochKeeper
from emotion.training.console import Log, epoch_line, is_terminal, remaining_s
from emotion.training.evaluate import cost
from emotion.training.folder import Status, now, read_status, write_config
from emotion.training.measured import Measured, work_of
from emotion.training.pictures import StoredPictures
from emotion.training.scoring import Scoring
from emotion.training.views import Views, views


def quieten() -> None:
    """Silence what Lightning says to people who configure it themselves."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # Lightning's own: https://github.com/Lightning-AI/pytorch-lightning/issues/21326
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # workers are chosen by machine.workers: https://lightning.ai/docs/pytorch/stable/advanced/speed.html
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # a mid-epoch checkpoint would need it; ours are written at the end of an epoch
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
    # frozen BatchNorm is meant to be: https://github.com/Lightning-AI/pytorch-lightning/pull/18951
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    # few batches an epoch are fine: nothing here logs by Lightning's interval
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")


@dataclass(frozen=True)
class Begun:
    """What an unfinished run has left: its checkpoint, the epochs behind it, and its callbacks' states."""

    file: Path
    epochs: int
    callbacks: dict[str, Any]


@dataclass
class Run:
    """A run under its lock. Made by `emotion.training.train`.

    Args:
        sweep: the folder of the sweep that it is a job of.
    """

    config: RunConfig
    store: Store
    folder: RunFolder
    identity: str
    log: Log
    sweep: Path | None = None

    @property
    def scoring(self) -> Scoring:
        return Scoring(self.config, self.store, self.folder, self.log)

    def do(self) -> None:
        """Train from the last checkpoint or from the start, then evaluate and report."""
        config, folder = self.config, self.folder
        started = time.perf_counter()
        quieten()
        environment.keep_memory()
        atomic.sweep(folder.path)
        earlier = folder.file("environment.json").is_file() and folder.environment
        self.log.keep_in(folder.file("log.txt"))
        threads = earlier["threads"] if earlier else environment.resolve_threads(config.machine.threads)
        torch.set_num_threads(threads)
        begun = read_status(folder) or {}
        seconds = begun.get("seconds", {})
        started -= seconds.get("total", 0)  # what earlier sessions took
        status = Status(
            folder,
            identity=self.identity,
            hash8=self.identity[:8],
            attempt=_attempt(folder),
            started=begun.get("started", now()),
            epochs=config.trainer.max_epochs,
            epoch=begun.get("epoch", 0),
            seconds=seconds,
            **{key: begun[key] for key in ("best",) if key in begun},
        )
        status.update()
        try:
            write_config(folder, config)
            device = choose_device(config.machine.devices)
            last = self.last_checkpoint()
            backend = earlier.get("augment_backend", "host") if earlier else None
            data, classifier = self.prepare(device, backend, load_weights=last is None)
            resolved, compiled = self.how(data, classifier, device, earlier or None)
            environment_now = environment.describe(threads, resolved, str(device))
            environment_now |= {"augment_backend": data.backend, "compiled": compiled}
            if earlier:
                environment_now["earlier_sessions"] = [*earlier.pop("earlier_sessions", []), earlier]
            atomic.write_json(folder.file("environment.json"), environment_now)
            how = f"{numbers.counted(threads, 'thread')}, {resolved}{', compiled' if compiled else ''}"
            self.log(f"{folder.path} · {_device_name(environment_now)}, {how}")
            environment.forget_peak_gpu_memory(device)
            with self.views() as shown:
                keeper = self.fit(data, classifier, device, resolved, compiled, status, last, shown, started)
                self.finish(data, device, keeper, status, started)
        except BaseException as error:
            said = error
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                said = checkpoint.full_disk(Path(error.filename or folder.path), error.strerror)
            self._failed(said, status)
            if said is error:
                raise
            raise said from error

    def add_test(self) -> None:
        """Score the test part of a finished run that was made without, from its best weights."""
        self.log.keep_in(self.folder.file("log.txt"))
        self.log("Adding the test part's predictions from the best weights.")
        self.folder.file("report.html").unlink(missing_ok=True)  # without it the run isn't whole
        device = choose_device(self.config.machine.devices)
        torch.set_num_threads(self.folder.environment["threads"])
        data = make_data(self.config, self.store, device)
        with self.views():
            self.scoring.evaluate(data, device, _tests(data))
            self.scoring.figures(data)
            self.scoring.write_metrics(self.folder.metrics["cost"])  # last: with them the test part is scored
            self.scoring.report()

    def make_whole(self) -> None:
        """What is missing of a run that was killed after it had finished."""
        with self.views():
            self.close()

    def views(self) -> AbstractContextManager[Views]:
        """The configured loggers, showing this folder."""
        return views(self.config, self.folder, StoredPictures(self.store), self.log)

    def prepare(
        self, device: torch.device, backend: Backend | None, load_weights: bool
    ) -> tuple[ExpressionDataModule, ExpressionClassifier]:
        """Split, batches and network; writes splits.json."""
        data = make_data(self.config, self.store, device, backend)
        facts = {"format": FORMAT, **data.split.manifest, "data": _data_facts(self.store, data.split)}
        atomic.write_json(self.folder.file("splits.json"), facts)
        classifier = make_classifier(self.config, data, device, load_weights)
        self.log(network_line(self.config, classifier))
        self.log(data_line(self.store, data.split))
        rejected = self.store.rejected
        if rejected.height:
            atomic.write_text(self.folder.file("rejected.csv"), rejected.write_csv())
            self.log(rejected_line(rejected, self.folder.file("rejected.csv")))
        return data, classifier

    def how(
        self,
        data: ExpressionDataModule,
        classifier: ExpressionClassifier,
        device: torch.device,
        earlier: dict[str, Any] | None,
    ) -> tuple[str, bool]:
        """The precision, and whether the network is compiled: as typed or measured, and then as the run was begun.

        Args:
            earlier: the environment of the session before this one.
        """
        trainer = self.config.trainer
        if earlier is not None:
            begun_so = device.type == "cuda" and earlier.get("compiled", False)
            return precision.possible(earlier["precision"], device), trainer.compile is True or begun_so
        measured = Measured(self.config.machine.cache_dir or default_cache_dir())
        image, label = probe_batch(data, device)

        def resolve() -> str:
            return precision.resolve(trainer.precision, classifier, image, label, device, measured)

        if trainer.precision == "auto" and self.sweep is not None:
            # wherever the others of this network and batch are done: folds and seeds never differ in precision
            resolved = Measured(self.sweep).get(work_of("precision", classifier, image), resolve)
        else:
            resolved = resolve()
        steps = trainer.max_epochs * _batches(self.config, data)
        compiled = compilation.resolve(
            trainer.compile, classifier, image, label, resolved, steps, measured, self.log
        )
        return resolved, compiled

    def fit(
        self,
        data: ExpressionDataModule,
        classifier: ExpressionClassifier,
        device: torch.device,
        resolved: str,
        compiled: bool,
        status: Status,
        last: Begun | None,
        shown: Views,
        started: float,
    ) -> EpochKeeper:
        """Train from `last`, or from the start where it is None."""
        config, folder = self.config, self.folder
        epochs = config.trainer.max_epochs

        def on_epoch(row: dict[str, float], keeper: EpochKeeper) -> None:
            assert keeper.best is not None
            left = remaining_s(keeper.history, epochs)
            self.log(epoch_line(row, epochs, left, keeper.best["epoch"] == row["epoch"]))
            seconds = {"train": round(keeper.train_s, 1), "total": round(time.perf_counter() - started, 1)}
            status.update(epoch=len(keeper.history), best=keeper.best, seconds=seconds)
            shown.epoch(row, keeper.confusions[-1])

        keeper = EpochKeeper(config, folder, self.description(classifier), on_epoch)
        callbacks: list[lightning.Callback] = [keeper]
        if is_terminal():
            callbacks.append(Bar(Console()))
        trainer = lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            max_epochs=epochs,
            limit_train_batches=_batches(config, data),
            precision=precision.lightning_name(resolved),
            gradient_clip_val=config.trainer.gradient_clip,
            accumulate_grad_batches=config.trainer.accumulate,
            # one process, whatever a cluster's variables say: Lightning would look for its own tasks in them
            plugins=[checkpoint.AtomicCheckpointIO(), LightningEnvironment()],
            default_root_dir=folder.path,
            callbacks=callbacks,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        if compiled:
            torch.compiler.reset()  # else what this process compiled before counts against torch's limit
            classifier.network.compile()  # in place: weights keep their names
        if data.resident:
            self.log(f"All images lie on {device}: {math.prod(self.store.images.shape) / 1e6:,.0f} MB.")
        if last is not None:
            data.first_epoch = last.epochs
            self.log(f"Continuing from {last.file.relative_to(folder.path)}.")
            keeper.load_state_dict(last.callbacks[keeper.state_key])
            keeper.catch_up(last.file)
            if keeper.stopped_early:
                return keeper  # Lightning would train one more epoch before it asks
        try:
            trainer.fit(classifier, datamodule=data, ckpt_path=last.file if last else None)
        except SystemExit:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(
                f"data.batch_size: expected at least 2, found {config.data.batch_size}: {config.model.name} normalises "
                "over a batch, and one image has nothing to be compared with."
            ) from error
        return keeper

    def last_checkpoint(self) -> Begun | None:
        """Where to go on from, if the run was begun."""
        last = self.folder.checkpoint("last")
        if not last.exists() and not checkpoint.previous(last).exists():
            return None
        file, contents = checkpoint.newest(last)
        return Begun(file, checkpoint.epochs_done(file, contents, self.identity), contents["callbacks"])

    def description(self, classifier: ExpressionClassifier) -> dict[str, Any]:
        """What `best.ckpt` says beside its weights: all that prediction needs, as plain data."""
        return {
            "identity": self.identity,
            "run": self.folder.name,
            "data": self.config.data.shown_name,
            "classes": list(self.store.classes),
            "preparation": self.store.preparation.to_dict(),
            "device": classifier.device_module.to_dict(),
            "network": classifier.network.description,
            "config": self.config.portable(),
        }

    def finish(
        self,
        data: ExpressionDataModule,
        device: torch.device,
        keeper: EpochKeeper,
        status: Status,
        started: float,
    ) -> None:
        """Predictions, metrics, figures and report, then the state `finished`."""
        config = self.config
        assert keeper.best is not None
        self.log(f"best epoch {keeper.best['epoch'] + 1}: {keeper.best['metric']} {keeper.best['value']:.4f}")
        evaluating = time.perf_counter()
        parts: tuple[TableName, ...] = ("val", *_tests(data)) if config.evaluation.test else ("val",)
        if config.fold is not None:
            parts = (*parts, "val_last")
        classifier = self.scoring.evaluate(data, device, parts)
        history = keeper.history
        channels = self.store.channels
        self.scoring.write_metrics(
            {
                **cost(classifier, channels, self.store.size_px),
                "train_s": round(keeper.train_s, 1),
                "epochs": len(history),
                "images_per_s": float(np.median([row["images_per_s"] for row in history])),
                "memory_mib": environment.peak_memory_mib(),
                **({"gpu_memory_mib": environment.peak_gpu_memory_mib()} if device.type == "cuda" else {}),
                "file_mib": round(self.folder.checkpoint("best").stat().st_size / 2**20, 2),
            }
        )
        self.scoring.figures(data)
        status.update(
            state="finished",
            epoch=len(history),
            best=keeper.best,
            finished=now(),
            stopped_early=len(history) < config.trainer.max_epochs,
            seconds={
                "train": round(keeper.train_s, 1),
                "evaluate": round(time.perf_counter() - evaluating, 1),
                "total": round(time.perf_counter() - started, 1),
            },
        )
        self.close()

    def close(self) -> None:
        """What may still be missing when a run is killed at its very end: the report, and removing `last.ckpt`."""
        self.scoring.report()
        checkpoint.AtomicCheckpointIO().remove_checkpoint(self.folder.checkpoint("last"))

    def _failed(self, error: BaseException, status: Status) -> None:
        """Note in the folder what happened; the same command continues whatever it was."""
        if status.known["state"] == "finished":  # what is left, a report or a view, needs no training
            return
        if isinstance(error, KeyboardInterrupt):
            status.update(state="interrupted")
            return
        said = str(error) if isinstance(error, EmotionError) else traceback.format_exc()
        with contextlib.suppress(OSError):  # a full disk may be what went wrong
            status.update(state="failed", message=said)


def _batches(config: RunConfig, data: ExpressionDataModule) -> int:
    """The training batches of an epoch."""
    every, limit = len(data.train_dataloader()), config.trainer.limit_train_batches
    if limit is None:
        return every
    return max(1, int(limit * every)) if isinstance(limit, float) else min(limit, every)


def _tests(data: ExpressionDataModule) -> tuple[TableName, ...]:
    """The parts that are scored once, at the end."""
    return ("test", OFFICIAL_TEST) if len(data.split.official_test) else ("test",)


def _attempt(folder: RunFolder) -> int:
    kept = folder.path / "attempts"
    return 1 + len([p for p in kept.iterdir() if p.name.isdigit()]) if kept.is_dir() else 1


def _data_facts(store: Store, split: Split) -> dict[str, Any]:
    used = store.labels[np.concatenate([split.train, split.val, split.test])]  # the same in every fold
    reasons = store.rejected["reason"].value_counts(sort=True)
    return {
        "name": store.name,
        "classes": list(store.classes),
        "images": store.frame.height,
        "size_px": store.size_px,
        "channels": store.channels,
        "fingerprint": store.fingerprint,
        "groups": store.frame["group"].drop_nulls().n_unique() or None,
        "notes": [*store.notes, *skew_notes(used, store.classes)],
        "rejected": dict(reasons.iter_rows()),
        **({"selection": store.selection} if store.selection else {}),
    }


def _device_name(described: dict[str, Any]) -> str:
    hardware = described["hardware"]
    return hardware["gpu"] or hardware["cpu"]
