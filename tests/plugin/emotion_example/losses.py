"""A loss: PolyLoss (Leng et al. 2022, eq. 3)."""

from torch import Tensor

from emotion.models.losses import CrossEntropy


class PolyLoss(CrossEntropy):
    def __init__(self, config, class_counts: Tensor) -> None:
        super().__init__(config, class_counts)
        self.epsilon = config.epsilon

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        p = logits.float().softmax(1).gather(1, target[:, None])[:, 0]
        return super().forward(logits, target) + self.epsilon * (1 - p).mean()
