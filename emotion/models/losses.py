"""Losses: from logits (N, K) float and targets to one number."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion.schema import Focal as FocalConfig
from emotion.schema import LossConfig


def balanced_weights(class_counts: Tensor) -> Tensor:
    """n / (K · n_k), scikit-learn's "balanced": the mean over the training images is 1. A class without images gets 0.

    >>> balanced_weights(torch.tensor([1, 3])).tolist()
    [2.0, 0.6666666865348816]
    """
    counts = class_counts.float()
    return torch.where(
        counts > 0, counts.sum() / (len(counts) * counts.clamp(min=1)), torch.zeros_like(counts)
    )


class CrossEntropy(nn.Module):
    """Cross-entropy with class weights and label smoothing, averaged as `torch.nn.CrossEntropyLoss` does.

    Args:
        class_counts: images a class in the training part, (K,) int64.
    """

    weight: Tensor | None

    def __init__(self, config: LossConfig, class_counts: Tensor) -> None:
        super().__init__()
        weight = balanced_weights(class_counts) if config.class_weights == "balanced" else None
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing = config.label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`target`: classes (N,) int64, or probabilities (N, K) float."""
        return F.cross_entropy(logits.float(), target, self.weight, label_smoothing=self.label_smoothing)


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
        return -(target * (1 - log_p.exp()) ** self.gamma * log_p).sum(1).mean()
