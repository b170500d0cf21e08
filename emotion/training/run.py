"""One run: from a checked configuration to predictions, metrics and a report, continued wherever it was left."""

import contextlib
import logging
import time
import traceback
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from rich.console import Console

from emotion import atomic
from emotion.data.datamodule import ExpressionDataModule
from emotion.data.splits import Split, make_split
from emotion.data.store import Store
from emotion.errors import EmotionError, RunError
from emotion.evaluation import predictions as tables
from emotion.models import network as door
from emotion.models.classifier import ExpressionClassifier
from emotion.models.device import DevicePreprocess
from emotion.runs import FORMAT, Part, RunFolder
from emotion.schema import RunConfig
from emotion.training import checkpoint, environment, precision
from emotion.training.callbacks import Bar, EpochKeeper
from emotion.training.console import Log, epoch_line, is_terminal
from emotion.training.evaluate import cost, predict
from emotion.training.folder import (
    Status,
    now,
    write_config,
)

NAN_CHECK_STEPS_GPU = 50


def quieten() -> None:
    """Silence what Lightning says to people who configure it themselves."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # Lightning's own: https://github.com/Lightning-AI/pytorch-lightning/issues/21385
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # workers are chosen by machine.workers: https://lightning.ai/docs/pytorch/stable/advanced/speed.html
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # a mid-epoch checkpoint would need it; ours are written at the end of an epoch
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
    # few batches an epoch are fine: nothing here logs by Lightning's interval
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")


@dataclass
class Run:
    """A run under its lock. Made by `emotion.training.train`."""

    config: RunConfig
    store: Store
    folder: RunFolder
    identity: str
    log: Log
    measured: str | None = None
    split: Split = field(init=False)

    def do(self) -> None:
        """Train from the last checkpoint or from the start, then evaluate and report."""
        config, folder = self.config, self.folder
        started = time.perf_counter()
        quieten()
        environment.keep_memory()
        earlier = folder.file("environment.json").is_file() and RunFolder(folder.path).environment
        self.log.keep_in(folder.file("log.txt"))
        threads = earlier["threads"] if earlier else environment.resolve_threads(config.machine.threads)
        torch.set_num_threads(threads)
        device = choose_device(config.machine.devices)
        status = Status(
            folder,
            identity=self.identity,
            hash8=self.identity[:8],
            attempt=_attempt(folder),
            started=now(),
            epochs=config.trainer.max_epochs,
            epoch=0,
        )
        status.update()
        try:
            write_config(folder, config)
            data, classifier = self.prepare(device)
            image, label = _probe_batch(self.store, self.split, config.data.batch_size, device)
            resolved = (
                earlier["precision"]
                if earlier
                else self.measured
                or precision.resolve(config.trainer.precision, classifier, image, label, device)
            )
            environment_now = environment.describe(threads, resolved, str(device))
            if earlier:
                environment_now["earlier_sessions"] = [*earlier.pop("earlier_sessions", []), earlier]
            atomic.write_json(folder.file("environment.json"), environment_now)
            self.log(f"{folder.path} · {_device_name(environment_now)}, {threads} threads, {resolved}")
            keeper = self.fit(data, classifier, device, resolved, status)
            self.finish(data, device, keeper, status, started)
        except BaseException as error:
            self._failed(error, status)
            raise

    def add_test(self) -> None:
        """Score the test part of a finished run that was made without, from its best weights."""
        self.log.keep_in(self.folder.file("log.txt"))
        self.log("Adding the test part's predictions from the best weights.")
        device = choose_device(self.config.machine.devices)
        torch.set_num_threads(environment.resolve_threads(self.config.machine.threads))
        data, _ = self.prepare(device)
        self.evaluate(data, device, ("test",))
        self.write_metrics(RunFolder(self.folder.path).metrics["cost"])
        self.figures(data)
        self.report()

    def prepare(self, device: torch.device) -> tuple[ExpressionDataModule, ExpressionClassifier]:
        """Split, batches and network; writes splits.json."""
        config, store = self.config, self.store
        self.split = make_split(
            store.frame,
            fold=config.fold,
            folds=config.folds,
            val_fraction=config.val_fraction,
            test_fraction=config.test_fraction,
            seed=config.data.split_seed,
            classes=store.classes,
            official=store.official,
        )
        workers = environment.resolve_workers(config.machine.workers, config.augment.name != "none")
        data = ExpressionDataModule(
            store,
            self.split,
            batch_size=config.data.batch_size,
            sampling=config.sampling,
            augment=config.augment,
            seed=config.seed,
            workers=workers,
            eval_batch_size=config.evaluation.batch_size,
        )
        atomic.write_json(
            self.folder.file("splits.json"),
            {"format": FORMAT, **self.split.manifest, "data": _data_facts(store, config)},
        )
        torch.manual_seed(config.seed)  # the first weights are a function of the seed alone
        size_px = door.input_size(config.model, store.size_px)
        network = door.build(config.model, config.head, len(store.classes), size_px)
        device_module = _device_module(config, data, size_px)
        classifier = ExpressionClassifier(
            config,
            network,
            device_module,
            torch.as_tensor(data.class_counts("train")),
            check_every=1 if device.type == "cpu" else NAN_CHECK_STEPS_GPU,
        )
        classifier = classifier.to(device, memory_format=torch.channels_last)
        self.log(_first_line(config, classifier, device_module))
        self.log(_data_line(store, self.split))
        return data, classifier

    def fit(
        self,
        data: ExpressionDataModule,
        classifier: ExpressionClassifier,
        device: torch.device,
        resolved: str,
        status: Status,
    ) -> EpochKeeper:
        config, folder = self.config, self.folder
        epochs = config.trainer.max_epochs
        began = time.perf_counter()

        def on_epoch(row: dict[str, float], keeper: EpochKeeper) -> None:
            done = int(row["epoch"]) + 1
            left = keeper.train_s / done * (epochs - done)
            assert keeper.best is not None
            self.log(epoch_line(row, epochs, left, keeper.best["epoch"] == row["epoch"]))
            status.update(epoch=done, best=keeper.best, seconds={"train": round(keeper.train_s, 1)})

        keeper = EpochKeeper(config, folder, self.description(classifier), on_epoch)
        callbacks: list[lightning.Callback] = [keeper]
        if is_terminal() and not self.log.quiet:
            callbacks.append(Bar(Console()))
        trainer = lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            max_epochs=epochs,
            limit_train_batches=config.trainer.limit_train_batches,
            precision=precision.lightning_name(resolved),
            gradient_clip_val=config.trainer.gradient_clip,
            accumulate_grad_batches=config.trainer.accumulate,
            plugins=[checkpoint.AtomicCheckpointIO()],
            callbacks=callbacks,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        last = folder.checkpoint("last")
        ckpt_path = None
        if last.exists() or checkpoint.previous(last).exists():
            ckpt_path = checkpoint.readable(last)
            data.first_epoch = checkpoint.epochs_done(ckpt_path, self.identity)
            self.log(f"Continuing from {ckpt_path.relative_to(folder.path)}.")
        try:
            trainer.fit(classifier, datamodule=data, ckpt_path=ckpt_path)
        except SystemExit:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None
        status.update(
            seconds={"train": round(keeper.train_s, 1), "session": round(time.perf_counter() - began, 1)}
        )
        return keeper

    def description(self, classifier: ExpressionClassifier) -> dict[str, Any]:
        """What `best.ckpt` says beside its weights: all that prediction needs, as plain data."""
        return {
            "identity": self.identity,
            "run": self.folder.name,
            "data": self.config.data.name,
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
        parts: tuple[Part, ...] = ("val", "test") if config.evaluation.test else ("val",)
        if config.fold is not None:
            parts = (*parts, "val_last")
        classifier = self.evaluate(data, device, parts)
        history = keeper.history
        channels = self.store.channels
        self.write_metrics(
            {
                **cost(classifier, channels, self.store.size_px),
                "train_s": round(keeper.train_s, 1),
                "epochs": len(history),
                "images_per_s": float(np.median([row["images_per_s"] for row in history])),
                "memory_mib": environment.peak_memory_mib(),
                "file_mib": round(self.folder.checkpoint("best").stat().st_size / 2**20, 2),
            }
        )
        self.figures(data)
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
        self.report()
        _remove_last(self.folder)

    def evaluate(
        self, data: ExpressionDataModule, device: torch.device, parts: tuple[Part, ...]
    ) -> ExpressionClassifier:
        """Write the prediction tables of `parts` from the best weights (`val_last`: from the last ones)."""
        best = checkpoint.load_weights(self.folder.checkpoint("best"))
        classifier = self.classifier_from(best, best["state_dict"])
        for part in parts:
            if part == "val_last":
                last = checkpoint.load(checkpoint.readable(self.folder.checkpoint("last")))
                state = {
                    k.removeprefix("network."): v
                    for k, v in last["state_dict"].items()
                    if k.startswith("network.")
                }
                of = self.classifier_from(best, state)
            else:
                of = classifier
            loader = data.test_dataloader() if part == "test" else data.val_dataloader()
            rows, found = predict(of, loader, device)
            frame = self.store.frame[rows]
            table = tables.from_arrays(
                frame["id"].to_list(),
                frame["label"].to_numpy(),
                found,
                self.store.classes,
                tables.Meta(
                    self.config.data.name,
                    "test" if part == "test" else "val",
                    self.folder.name,
                    selected_on_this_part=part == "val",
                ),
                groups=frame["group"].to_list(),
                fold=self.config.fold,
            )
            tables.write(self.folder.predictions(part), table)
        return classifier

    def classifier_from(self, best: dict[str, Any], state: dict[str, torch.Tensor]) -> ExpressionClassifier:
        network = door.rebuild(best["network"])
        network.load_state_dict(state)
        device_module = DevicePreprocess.from_dict(best["device"])
        counts = torch.ones(len(best["classes"]), dtype=torch.int64)
        return ExpressionClassifier(self.config, network, device_module, counts)

    def write_metrics(self, cost: dict[str, Any]) -> None:
        """metrics.json: computed from the prediction tables, beside what the run cost."""
        from emotion.evaluation.metrics import compute, to_json

        metrics: dict[str, Any] = {"format": FORMAT}
        part: Part
        for part in ("val", "test"):
            if self.folder.has(part):
                table = tables.read(self.folder.predictions(part))
                found = compute(table.labels, table.probabilities, table.classes)
                metrics[part] = to_json(found)
        atomic.write_json(self.folder.file("metrics.json"), {**metrics, "cost": cost})

    def figures(self, data: ExpressionDataModule) -> None:
        from emotion.training.pictures import write_figures

        write_figures(RunFolder(self.folder.path), data)

    def report(self) -> None:
        from emotion.reporting.report import write_report
        from emotion.training.pictures import StoredPictures

        run = RunFolder(self.folder.path)
        path = write_report([run], self.folder.file("report.html"), StoredPictures(self.store))
        for part in ("val", "test"):
            if part in run.metrics:
                scores = run.metrics[part]
                self.log(
                    f"{part:>4}: accuracy {scores['accuracy']:.1%}, balanced accuracy "
                    f"{scores['balanced_accuracy']:.1%}, macro F1 {scores['f1_macro']:.3f}"
                )
        self.log(f"{path}")

    def _failed(self, error: BaseException, status: Status) -> None:
        """Note in the folder what happened. Interrupted runs stay `running`: they are continued."""
        if isinstance(error, KeyboardInterrupt):
            status.update(state="interrupted")
            return
        said = str(error) if isinstance(error, EmotionError) else traceback.format_exc()
        with contextlib.suppress(OSError):  # a full disk may be what went wrong
            status.update(state="failed", message=said)


def choose_device(devices: int | str) -> torch.device:
    """auto: a GPU where there is one.

    Raises:
        RunError: the wanted device isn't there.
    """
    if devices == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if devices == "cpu":
        return torch.device("cpu")
    if devices == "mps" and torch.backends.mps.is_available():
        return torch.device("mps")
    number = 0 if devices == "cuda" else devices
    if not isinstance(number, int) or number >= torch.cuda.device_count():
        raise RunError(
            f"machine.devices={devices}: expected one of the {torch.cuda.device_count()} GPUs that torch sees, "
            "auto or cpu."
        )
    return torch.device("cuda", number)


def _attempt(folder: RunFolder) -> int:
    kept = folder.path / "attempts"
    return 1 + len([p for p in kept.iterdir() if p.name.isdigit()]) if kept.is_dir() else 1


def _remove_last(folder: RunFolder) -> None:
    checkpoint.AtomicCheckpointIO().remove_checkpoint(folder.checkpoint("last"))


def _probe_batch(
    store: Store, split: Split, count: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = split.train[: min(count, len(split.train))]
    return torch.as_tensor(store.images[rows]).to(device), torch.as_tensor(store.labels[rows]).to(device)


def _device_module(config: RunConfig, data: ExpressionDataModule, size_px: int) -> DevicePreprocess:
    channels = door.input_channels(config.model)
    mean, std = _statistics(config, data, channels)
    return DevicePreprocess(channels, size_px, mean, std)


def _statistics(
    config: RunConfig, data: ExpressionDataModule, channels: int
) -> tuple[list[float], list[float]]:
    """Mean and deviation of pixel values in [0, 1] for each channel of the network."""
    chosen = config.preprocess.statistics
    if chosen == "auto":
        chosen = "pretrained" if config.model.pretrained or config.model.weights else "training"
    if chosen == "unit":
        return [0.0] * channels, [1.0] * channels
    if chosen == "raw":
        return [0.0] * channels, [1 / 255] * channels
    if chosen == "pretrained":
        published = door.published(config.model.name)
        mean, std = list(published.get("mean", (0.5,))), list(published.get("std", (0.5,)))
    else:
        mean, std = data.store.statistics(data.split.train)
    if len(mean) != channels:
        mean, std = [float(np.mean(mean))] * channels, [float(np.mean(std))] * channels
    return mean, [max(deviation, 1e-3) for deviation in std]


def _data_facts(store: Store, config: RunConfig) -> dict[str, Any]:
    reasons = store.rejected["reason"].value_counts(sort=True)
    return {
        "name": config.data.name,
        "classes": list(store.classes),
        "images": store.frame.height,
        "size_px": store.size_px,
        "channels": store.channels,
        "fingerprint": store.fingerprint,
        "groups": store.frame["group"].n_unique() if store.frame["group"].null_count() == 0 else None,
        "notes": list(store.notes),
        "rejected": dict(reasons.iter_rows()),
    }


def _first_line(config: RunConfig, classifier: ExpressionClassifier, device_module: DevicePreprocess) -> str:
    model = config.model
    if model.pretrained:
        weights = "timm's published weights"
    elif model.weights:
        weights = f"weights from {model.weights}"
    else:
        weights = "random weights (model.pretrained=false)"
    count = sum(p.numel() for p in classifier.network.parameters())
    edge = device_module.size_px
    return f"{model.name} with {weights}: {count:,} parameters, input {device_module.channels}×{edge}×{edge}"


def _data_line(store: Store, split: Split) -> str:
    parts = ", ".join(
        f"{name} {len(rows):,}"
        for name, rows in (("train", split.train), ("validation", split.val), ("test", split.test))
    )
    return f"{store.frame.height:,} images of {len(store.classes)} classes: {parts} ({split.manifest['strategy']})"


def _device_name(described: dict[str, Any]) -> str:
    hardware = described["hardware"]
    return hardware["gpu"] or hardware["cpu"]
