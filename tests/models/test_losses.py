import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from emotion.models.losses import CrossEntropy, Focal, balanced_weights
from emotion.schema import CrossEntropy as CrossEntropyConfig
from emotion.schema import Focal as FocalConfig

COUNTS = torch.tensor([10, 30, 60])


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def test_balanced_weights_are_scikit_learn_s() -> None:
    labels = np.repeat([0, 1, 2], COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(COUNTS), expected, rtol=1e-6)
    assert balanced_weights(torch.tensor([0, 4]))[0] == 0


@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_hand(
    batch: tuple[torch.Tensor, torch.Tensor], weights: str, smoothing: float
) -> None:
    logits, labels = batch
    w = balanced_weights(COUNTS) if weights == "balanced" else torch.ones(3)
    log_p = logits.log_softmax(1)
    # the documented formula of torch.nn.CrossEntropyLoss, smoothed targets weighted a class
    own = -(w[labels] * log_p[torch.arange(16), labels])
    uniform = -(w * log_p).sum(1) / 3
    expected = ((1 - smoothing) * own + smoothing * uniform).sum() / w[labels].sum()
    loss = CrossEntropy(CrossEntropyConfig(class_weights=weights, label_smoothing=smoothing), COUNTS)
    torch.testing.assert_close(loss(logits, labels), expected)


def test_focal_without_focus_is_cross_entropy(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    torch.testing.assert_close(
        Focal(FocalConfig(gamma=0), COUNTS)(logits, labels), F.cross_entropy(logits, labels)
    )


def test_focal_by_hand(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    p = logits.softmax(1)[torch.arange(16), labels]
    expected = (-balanced_weights(COUNTS)[labels] * (1 - p) ** 2 * p.log()).mean()
    loss = Focal(FocalConfig(gamma=2, class_weights="balanced"), COUNTS)
    torch.testing.assert_close(loss(logits, labels), expected)


@pytest.mark.parametrize("make", [CrossEntropy, Focal])
def test_twenty_steps_lower_every_loss(make: type, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    config = (
        FocalConfig(class_weights="balanced")
        if make is Focal
        else CrossEntropyConfig(class_weights="balanced")
    )
    loss, free = make(config, COUNTS), logits.clone().requires_grad_()
    first = loss(free, labels).item()
    optimizer = torch.optim.SGD([free], lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        loss(free, labels).backward()
        optimizer.step()
    assert loss(free, labels).item() < 0.9 * first


def test_soft_targets_equal_hard_ones_when_certain(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    for loss in (CrossEntropy(CrossEntropyConfig(), COUNTS), Focal(FocalConfig(), COUNTS)):
        torch.testing.assert_close(loss(logits, F.one_hot(labels, 3).float()), loss(logits, labels))
