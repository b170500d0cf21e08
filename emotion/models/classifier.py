"""The LightningModule: uint8 batches in, loss and metrics out."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from emotion import counter, registry
from emotion.errors import RunError
from emotion.models.device import DevicePreprocess, class_probabilities
from emotion.models.layers import clip_norms, kernels, l2_penalty
from emotion.models.losses import CrossEntropy
from emotion.models.mixing import Mixing
from emotion.models.network import Network
from emotion.models.optimizers import parameter_groups
from emotion.schema import RunConfig

Batch = dict[str, Tensor]
_NAMED = 5  # images of a batch that a message lists


class ExpressionClassifier(pl.LightningModule):
    """A network behind its device preprocessing, trained by one loss.

    Args:
        config: the run's checked configuration.
        network: from `emotion.models.network.build`.
        device_module: the device's part of the preprocessing.
        class_counts: training images a class, (K,) int64, for the loss.
        check_every: steps between two looks at whether the loss is still a number. 1 costs nothing on a CPU; on a
            GPU each look makes the host wait.

    Attributes:
        reused: what of another run's weights it starts from, in words; "" for none.
    """

    _loss_sum: Tensor
    _correct: Tensor
    _seen: Tensor
    _first_bad: Tensor

    def __init__(
        self,
        config: RunConfig,
        network: Network,
        device_module: DevicePreprocess,
        class_counts: Tensor,
        check_every: int = 1,
    ) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.device_module = device_module
        self.loss: nn.Module = registry.builder("loss", config.loss.name)(config.loss, class_counts)
        self.mixing = Mixing(config.trainer.mixup, config.trainer.cutmix)
        self.val_metrics = validation_metrics(len(class_counts))
        self.classes = len(class_counts)
        self.val_confusion = MulticlassConfusionMatrix(len(class_counts), validate_args=False)
        self.check_every = check_every
        self.reused = ""
        model = config.model
        self._penalised = kernels(network, model.l2_layers, "model.l2_layers") if model.l2 else []
        self._bounded = (
            kernels(network, model.max_norm_layers, "model.max_norm_layers") if model.max_norm else []
        )
        self.register_buffer("_loss_sum", torch.zeros(()), persistent=False)
        self.register_buffer("_correct", torch.zeros(()), persistent=False)
        self.register_buffer("_seen", torch.zeros(()), persistent=False)
        self.register_buffer("_first_bad", torch.tensor(-1), persistent=False)

    @property
    def plateau(self) -> ReduceLROnPlateau | None:
        """The schedule that waits for validation, if it is the chosen one."""
        return self._plateau

    def forward(self, image: Tensor) -> Tensor:
        """image (N, H, W, C) uint8 → logits (N, K) float, unnormalised."""
        return self.network(self.device_module(image))

    def probabilities(self, image: Tensor) -> Tensor:
        """image (N, H, W, C) uint8 → class probabilities (N, K) float32, averaged over what `evaluation.tta` names."""
        return class_probabilities(self, image, self.config.evaluation.tta)

    def configure_optimizers(self) -> Any:
        config, trainer = self.config, self.trainer
        later = self.network.frozen if config.model.freeze_epochs is not None else []
        groups = parameter_groups(self.network.backbone, self.network.head, config.optimizer, later)
        # a fused step takes the scale out of fp16's gradients itself, so that they can't be clipped before
        scaled = trainer.precision == "16-mixed" and config.trainer.gradient_clip is not None
        unfused = {"fused": False} if scaled else {}
        optimizer = registry.builder("optimizer", config.optimizer.name)(config.optimizer, groups, **unfused)
        if self._bounded:
            optimizer.register_step_post_hook(lambda *_: self._bound_norms())
        mode = "min" if config.trainer.monitor == "loss" else "max"
        steps = int(trainer.estimated_stepping_batches)
        schedule = registry.builder("schedule", config.schedule.name)(
            config.schedule, optimizer, steps, config.trainer.max_epochs, mode
        )
        self._plateau = schedule if isinstance(schedule, ReduceLROnPlateau) else None
        if self._plateau is not None:
            return (
                optimizer  # stepped and saved by us: Lightning steps it at another moment in a continued run
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By the norm of all gradients. Lightning refuses fused optimizers in bf16 too, which has no scale."""
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_train_epoch_start(self) -> None:
        for total in (self._loss_sum, self._correct, self._seen):
            total.zero_()
        self._first_bad.fill_(-1)
        frozen_epochs = self.config.model.freeze_epochs
        if frozen_epochs is not None and self.current_epoch >= frozen_epochs and self.network.frozen:
            self.network.unfreeze()
        if isinstance(self.loss, CrossEntropy):
            self.loss.epoch = self.current_epoch

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout and its like draw from (seed, epoch, batch, rank), whatever was drawn before."""
        torch.manual_seed(self._step_seed(batch_idx))

    def _step_seed(self, batch: int) -> int:
        return int(counter.mix(self.config.seed, self.current_epoch, batch, self.global_rank)) >> 1

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, target = self.device_module(batch["image"]), batch.get("target", batch["label"])
        if self.mixing:
            if target.ndim == 1:
                target = F.one_hot(target, self.classes).float()
            images, target = self.mixing(images, target, self._step_seed(batch_idx))
        logits = self.network(images)
        loss = self.loss(logits, target)
        with torch.no_grad():
            count = len(logits)
            self._loss_sum += loss.detach() * count
            self._correct += (logits.argmax(1) == batch["label"]).sum()
            self._seen += count
            bad = ~torch.isfinite(loss.detach()) & (self._first_bad < 0)
            self._first_bad.masked_fill_(bad, batch_idx)
        if (batch_idx + 1) % self.check_every == 0:
            self.stop_on_nan()
        if self._penalised:  # not in the loss that is shown, which is then comparable with validation's
            loss = loss + l2_penalty(self._penalised, self.config.model.l2)
        return loss if self.config.trainer.accumulate == 1 else loss * self._accumulated(batch_idx)

    def _accumulated(self, batch: int) -> float:
        """Makes up for Lightning's division by `trainer.accumulate` where the epoch's last step has fewer batches."""
        every = self.config.trainer.accumulate
        left = int(self.trainer.num_training_batches) - batch // every * every
        return every / min(every, left)

    def _bound_norms(self) -> None:
        assert self.config.model.max_norm is not None
        clip_norms([w for w in self._bounded if w.requires_grad], self.config.model.max_norm)

    @property
    def images_seen(self) -> int:
        """Training images of this epoch so far."""
        return int(self._seen)

    def training_totals(self) -> dict[str, float]:
        """Mean loss and accuracy of the epoch's training batches, as they were when they were trained on.

        Of a mixed image the label counts that it came with.
        """
        seen = max(float(self._seen), 1.0)
        return {"train/loss": float(self._loss_sum) / seen, "train/accuracy": float(self._correct) / seen}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        probabilities = self.probabilities(batch["image"])
        self.val_metrics.update(probabilities, batch["label"])
        self.val_confusion.update(probabilities, batch["label"])

    def validation_totals(self) -> dict[str, float]:
        """The metrics of the validation part since the last call."""
        totals = {f"val/{name}": float(value) for name, value in self.val_metrics.compute().items()}
        self.val_metrics.reset()
        return totals

    def validation_confusion(self) -> list[list[int]]:
        """Counts of the validation part since the last call, true classes in rows."""
        counts: list[list[int]] = self.val_confusion.compute().tolist()
        self.val_confusion.reset()
        return counts

    def stop_on_nan(self, val_loss: float = 0.0) -> None:
        """
        Args:
            val_loss: of the epoch, once it is known.

        Raises:
            RunError: a loss of this epoch was no number; the text names images of the batch.
        """
        batch = int(self._first_bad)
        if batch >= 0:
            ids = self.trainer.datamodule.batch_ids(self.current_epoch, batch)  # type: ignore[attr-defined]
            more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
            raise _diverged(
                f"the loss is no longer a number, first in batch {batch} of epoch {self.current_epoch}, with the "
                f"images {', '.join(ids[:_NAMED])}{more}"
            )
        if not math.isfinite(val_loss):
            raise _diverged(f"the validation loss is no longer a number after epoch {self.current_epoch}")


def _diverged(said: str) -> RunError:
    return RunError(
        f"{said}. A smaller optimizer.lr, trainer.gradient_clip=1 or trainer.precision=fp32 may help."
    )


class _LogLoss(MeanMetric):
    """−log of the probability given to the label, the mean over images; NaN where one of them is."""

    def __init__(self) -> None:
        super().__init__(nan_strategy=math.nan)  # by default it leaves those images out

    def update(self, preds: Tensor, target: Tensor) -> None:  # type: ignore[override]
        super().update(-preds.gather(1, target[:, None]).clamp(min=torch.finfo(torch.float32).tiny).log())


def validation_metrics(classes: int) -> MetricCollection:
    """What is followed during training. Tested to equal the prediction table's metrics."""
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False),
            "balanced_accuracy": BalancedAccuracy(classes, average="none", validate_args=False),
            "f1_macro": MacroF1(classes, average="none", validate_args=False),
            "loss": _LogLoss(),
        },
        compute_groups=False,
    )


class BalancedAccuracy(MulticlassAccuracy):
    """Mean recall over the classes that occur, as scikit-learn's `balanced_accuracy_score` (= UAR)."""

    def compute(self) -> Tensor:
        assert isinstance(self.tp, Tensor)  # lists only where average is "samples"
        assert isinstance(self.fn, Tensor)
        return super().compute()[self.tp + self.fn > 0].mean()


class MacroF1(MulticlassF1Score):
    """Mean F1 over all classes; an absent one counts 0, as scikit-learn's with all labels."""

    def compute(self) -> Tensor:
        return super().compute().nan_to_num(0).mean()
