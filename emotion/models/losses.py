"""Losses: from logits (N, K) float and targets to one number.

A target is the classes (N,) int64, or probabilities (N, K) float: soft labels, mixup, cutmix. A loss is linear in the
target, so that a mixture of two labels costs the mixture of what each costs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion.schema.learning import BalancedSoftmax, LogitAdjusted, LossConfig
from emotion.schema.learning import Focal as FocalConfig
from emotion.schema.learning import Ldam as LdamConfig


def balanced_weights(class_counts: Tensor) -> Tensor:
    """n / (K · n_k), scikit-learn's "balanced": the mean over the training images is 1. A class without images gets 0.

    >>> balanced_weights(torch.tensor([1, 3])).tolist()
    [2.0, 0.6666666865348816]
    """
    counts = class_counts.float()
    return torch.where(
        counts > 0, counts.sum() / (len(counts) * counts.clamp(min=1)), torch.zeros_like(counts)
    )


def effective_weights(class_counts: Tensor, beta: float) -> Tensor:
    """(1 − β) / (1 − β^n_k), the mean over the classes that have images being 1 (Cui et al. 2019, eq. 3).

    A class without images gets 0.

    >>> effective_weights(torch.tensor([5, 80]), 0.0).tolist()
    [1.0, 1.0]
    """
    counts = class_counts.double()
    seen = counts > 0
    weights = torch.where(seen, (1 - beta) / (1 - beta ** counts.clamp(min=1)), torch.zeros_like(counts))
    return (weights * (seen.sum() / weights.sum())).float()


def log_prior(class_counts: Tensor) -> Tensor:
    """The log of each class's share of the training images; a class without images counts as having one."""
    counts = class_counts.double().clamp(min=1)
    return (counts / counts.sum()).log().float()


class CrossEntropy(nn.Module):
    """Cross-entropy with class weights and label smoothing, averaged as `torch.nn.CrossEntropyLoss` does.

    Args:
        class_counts: images a class in the training part, (K,) int64.

    Attributes:
        epoch: the current one, for deferred re-weighting; whoever trains keeps it up to date.
    """

    _weight: Tensor | None

    def __init__(self, config: LossConfig, class_counts: Tensor) -> None:
        super().__init__()
        weight = None
        if config.class_weights == "balanced":
            weight = balanced_weights(class_counts)
        elif config.class_weights == "effective":
            weight = effective_weights(class_counts, config.effective_beta)
        self.register_buffer("_weight", weight, persistent=False)
        self.label_smoothing = config.label_smoothing
        self.weights_from_epoch = config.weights_from_epoch
        self.epoch = 0

    @property
    def weight(self) -> Tensor | None:
        """Of each class, (K,), in the current epoch; None: all alike."""
        return self._weight if self.epoch >= self.weights_from_epoch else None

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`target`: classes (N,) int64, or probabilities (N, K) float."""
        logits, weight = logits.float(), self.weight
        if target.ndim == 1 or weight is None:
            return F.cross_entropy(logits, target, weight, label_smoothing=self.label_smoothing)
        # torch divides by N here, and by the weights of the targets where those are classes
        total = F.cross_entropy(logits, target, weight, reduction="sum", label_smoothing=self.label_smoothing)
        return total / (target @ weight).sum()


class Focal(CrossEntropy):
    """Focal loss, mean of −w_y (1 − p_y)^γ log p_y (Lin et al. 2017, eq. 5), smoothed targets summed over classes."""

    def __init__(self, config: FocalConfig, class_counts: Tensor) -> None:
        super().__init__(config, class_counts)
        self.gamma = config.gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`target`: classes (N,) int64, or probabilities (N, K) float."""
        classes = logits.shape[1]
        if target.ndim == 1:
            target = F.one_hot(target, classes).float()
        target = target * (1 - self.label_smoothing) + self.label_smoothing / classes
        if self.weight is not None:
            target = target * self.weight
        log_p = F.log_softmax(logits.float(), dim=1)
        missed = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)  # 0 has no slope where γ < 1
        return -(target * missed**self.gamma * log_p).sum(1).mean()


class Adjusted(CrossEntropy):
    """Cross-entropy of logits + τ log π, π being the classes' shares of the training images.

    Only the loss adds them, so the plain logits are those for classes that are equally frequent.
    """

    offset: Tensor

    def __init__(self, config: LossConfig, class_counts: Tensor, tau: float) -> None:
        super().__init__(config, class_counts)
        self.register_buffer("offset", tau * log_prior(class_counts), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`target`: classes (N,) int64, or probabilities (N, K) float."""
        return super().forward(logits.float() + self.offset, target)


def logit_adjusted(config: LogitAdjusted, class_counts: Tensor) -> Adjusted:
    """The logit-adjusted loss (Menon et al. 2021, eq. 10)."""
    return Adjusted(config, class_counts, config.tau)


def balanced_softmax(config: BalancedSoftmax, class_counts: Tensor) -> Adjusted:
    """Balanced softmax, −log(n_y e^z_y / Σ_k n_k e^z_k) (Ren et al. 2020, eq. 4): adjusted logits with τ = 1."""
    return Adjusted(config, class_counts, 1.0)


class Ldam(CrossEntropy):
    """Label-distribution-aware margin loss (Cao et al. 2019, eq. 12 and 13).

    Cross-entropy after the label's logit has lost its margin, C · n_k ** -1/4 with the rarest class's as configured.
    A class without images counts as having one.
    """

    margins: Tensor

    def __init__(self, config: LdamConfig, class_counts: Tensor) -> None:
        super().__init__(config, class_counts)
        margins = class_counts.double().clamp(min=1) ** -0.25
        self.register_buffer(
            "margins", (config.max_margin * margins / margins.max()).float(), persistent=False
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`target`: classes (N,) int64, or probabilities (N, K) float."""
        logits = logits.float()
        classes = logits.shape[1]
        if target.ndim == 1:
            return super().forward(logits - F.one_hot(target, classes) * self.margins, target)
        # the cost of each class as if it were the label, (N, K)
        costs = torch.stack([self._cost_of(logits, label) for label in range(classes)], dim=1)
        total = (target * costs).sum()
        return total / (len(target) if self.weight is None else (target @ self.weight).sum())

    def _cost_of(self, logits: Tensor, label: int) -> Tensor:
        """(N,): what the images would cost if `label` were the label of all."""
        lowered = logits.clone()
        lowered[:, label] -= self.margins[label]
        labels = torch.full((len(logits),), label, device=logits.device)
        return F.cross_entropy(
            lowered, labels, self.weight, reduction="none", label_smoothing=self.label_smoothing
        )
