"""What happens at the end of an epoch: the metrics' row, the checkpoints, the progress line."""

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytorch_lightning as lightning
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emotion import atomic
from emotion.errors import RunError
from emotion.models.classifier import ExpressionClassifier
from emotion.models.schedules import finished_cycle
from emotion.runs import FORMAT, RunFolder
from emotion.schema import RunConfig
from emotion.training import checkpoint


class EpochKeeper(lightning.Callback):
    """Keeps the history, chooses the best epoch and writes the checkpoints after every epoch's validation.

    Args:
        folder: of the run.
        description: what `best.ckpt` carries beside its weights.
        on_epoch: called with each finished row of the history.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        description: dict[str, Any],
        on_epoch: Callable[[dict[str, float], "EpochKeeper"], None],
    ) -> None:
        self.config, self.folder, self.description, self.on_epoch = config, folder, description, on_epoch
        self.history: list[dict[str, float]] = []
        self.confusions: list[list[list[int]]] = []
        self.best: dict[str, Any] | None = None
        self.train_s = 0.0
        self._started = self._validating = self._lr = 0.0
        self._seen = 0

    @property
    def monitor(self) -> str:
        return f"val/{self.config.trainer.monitor}"

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "confusions": self.confusions,
            "best": self.best,
            "train_s": self.train_s,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history, self.best, self.train_s = (
            state_dict["history"],
            state_dict["best"],
            state_dict["train_s"],
        )
        self.confusions = state_dict.get("confusions", [])  # a run begun by an earlier version has none

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["identity"] = self.description["identity"]
        checkpoint["epochs_done"] = len(self.history)
        plateau = _plateau(pl_module)
        if plateau is not None:
            state = {
                k: v
                for k, v in plateau.state_dict().items()
                if isinstance(v, int | float | str | list | bool)
            }
            checkpoint["plateau"] = state

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._loaded_plateau = checkpoint.get("plateau")

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        plateau = _plateau(pl_module)
        loaded = getattr(self, "_loaded_plateau", None)
        if plateau is not None and loaded is not None:
            plateau.load_state_dict(loaded)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_before_optimizer_step(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._lr = optimizer.param_groups[0]["lr"]  # afterwards the schedule has set the next step's

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ExpressionClassifier)
        self._seen = pl_module.images_seen  # a GPU has done them all once it can say so
        self._validating = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Runs after the epoch's validation."""
        assert isinstance(pl_module, ExpressionClassifier)
        totals = pl_module.training_totals() | pl_module.validation_totals()
        pl_module.stop_on_nan(totals["val/loss"])  # before anything is written
        seconds = time.perf_counter() - self._started
        self.train_s += seconds
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": self._lr,
            **totals,
            "seconds": round(seconds, 3),
            "images_per_s": round(self._seen / (self._validating - self._started), 1),
        }
        self.history.append(row)
        self.confusions.append(pl_module.validation_confusion())
        if pl_module.plateau is not None:
            pl_module.plateau.step(row[self.monitor])
        if self._is_best(row):
            self.best = {"epoch": trainer.current_epoch, "metric": self.monitor, "value": row[self.monitor]}
        if self._should_stop():
            trainer.should_stop = True
        write_history(self.folder, self.history)
        write_confusions(self.folder, self.confusions)
        trainer.save_checkpoint(self.folder.checkpoint("last"))
        for path in self._due():  # after last.ckpt, from which a run that is cut off here makes them
            self._save(pl_module.network.state_dict(), path)
        self.on_epoch(row, self)

    def catch_up(self, last: Path) -> None:
        """Write the weights that the last epoch was to leave, where the run was cut off after its checkpoint `last`."""
        missing = [path for path in self._due() if not self._holds(path)]
        if missing:
            state = checkpoint.network_state(checkpoint.load(last))
            for path in missing:
                self._save(state, path)

    def _due(self) -> Iterator[Path]:
        """The files of weights that the last epoch leaves: the best so far, the snapshot of a cycle that ends."""
        epoch = int(self.history[-1]["epoch"])
        if self.best is not None and self.best["epoch"] == epoch:
            yield self.folder.checkpoint("best")
        cycle = finished_cycle(self.config.schedule, epoch, self.config.trainer.max_epochs)
        if cycle is not None:
            yield self.folder.snapshot_weights(cycle)

    def _holds(self, path: Path) -> bool:
        try:
            return bool(checkpoint.load_weights(path)["epoch"] == self.history[-1]["epoch"])
        except RunError:
            return False

    def _sign(self) -> float:
        return -1.0 if self.config.trainer.monitor == "loss" else 1.0

    def _is_best(self, row: dict[str, float]) -> bool:
        return self.best is None or self._sign() * (row[self.monitor] - self.best["value"]) > 0

    def _should_stop(self) -> bool:
        stopping = self.config.callbacks.early_stopping
        if stopping.patience is None:
            return False
        best, at = -math.inf, 0
        for row in self.history:
            value = self._sign() * row[self.monitor]
            if value > best + (stopping.min_delta if best > -math.inf else 0):
                best, at = value, int(row["epoch"])
        return int(self.history[-1]["epoch"]) - at >= stopping.patience

    @property
    def stopped_early(self) -> bool:
        return bool(self.history) and self._should_stop()

    def _save(self, state: Mapping[str, torch.Tensor], path: Path) -> None:
        held = {key: tensor.detach().cpu() for key, tensor in state.items()}
        epoch = int(self.history[-1]["epoch"])
        checkpoint.save_weights(path, {**self.description, "epoch": epoch, "state_dict": held})


def _plateau(module: lightning.LightningModule) -> torch.optim.lr_scheduler.ReduceLROnPlateau | None:
    return module.plateau if isinstance(module, ExpressionClassifier) else None


def write_history(folder: RunFolder, history: list[dict[str, float]]) -> None:
    buffer = io.BytesIO()
    pl.DataFrame(history).write_csv(buffer)
    atomic.write_bytes(folder.file("metrics.csv"), buffer.getvalue())


def write_confusions(folder: RunFolder, confusions: list[list[list[int]]]) -> None:
    """confusions.json: the validation part's counts after each epoch, true classes in rows."""
    atomic.write_json(folder.file("confusions.json"), {"format": FORMAT, "val": confusions})


class Bar(lightning.Callback):
    """A rich bar over the batches of each epoch; only where the output is a terminal."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.progress.start()
        self.task = self.progress.add_task("")

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.progress.reset(
            self.task,
            total=int(trainer.num_training_batches),
            description=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.progress.advance(self.task)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.progress.reset(self.task, total=int(sum(trainer.num_val_batches)), description="validation")

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.progress.advance(self.task)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.progress.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self.progress.stop()
