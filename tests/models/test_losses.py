import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional as F

from emotion.models.losses import (
    CrossEntropy,
    Focal,
    Ldam,
    balanced_softmax,
    balanced_weights,
    effective_weights,
    logit_adjusted,
)
from emotion.registry import builder, entries
from emotion.schema.learning import BalancedSoftmax as BalancedSoftmaxConfig
from emotion.schema.learning import CrossEntropy as CrossEntropyConfig
from emotion.schema.learning import Focal as FocalConfig
from emotion.schema.learning import Ldam as LdamConfig
from emotion.schema.learning import LogitAdjusted as LogitAdjustedConfig

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


def arrays(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    return batch[0].double().numpy(), batch[1].numpy()


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.999999])
def test_effective_weights_are_inverse_sums_of_a_geometric_series(beta: float) -> None:
    """E_n = 1 + β + … + β^(n-1): Cui et al. 2019, proposition 1, summed up instead of in closed form."""
    expected = np.array([1 / sum(beta**i for i in range(n)) for n in COUNTS.tolist()])
    np.testing.assert_allclose(effective_weights(COUNTS, beta), expected / expected.mean(), rtol=1e-5)


def test_effective_weights_of_a_class_without_images() -> None:
    found = effective_weights(torch.tensor([0, 5, 80]), 0.99)
    assert found[0] == 0
    torch.testing.assert_close(found[1:], effective_weights(torch.tensor([5, 80]), 0.99))


def test_effective_weights_lie_between_none_and_inverse_frequency() -> None:
    torch.testing.assert_close(effective_weights(COUNTS, 0.0), torch.ones(3))
    inverse = 1 / COUNTS.double()
    torch.testing.assert_close(effective_weights(COUNTS, 1 - 1e-9), (inverse / inverse.mean()).float())


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_logit_adjustment_by_hand(batch: tuple[torch.Tensor, torch.Tensor], tau: float) -> None:
    """Menon et al. 2021, eq. 10, in the form log(1 + Σ_k (π_k / π_y)^τ e^(f_k − f_y))."""
    logits, labels = arrays(batch)
    prior = COUNTS.numpy() / COUNTS.sum().item()
    costs = [
        np.log1p(sum((prior[k] / prior[y]) ** tau * np.exp(f[k] - f[y]) for k in range(3) if k != y))
        for f, y in zip(logits, labels, strict=True)
    ]
    loss = logit_adjusted(LogitAdjustedConfig(tau=tau), COUNTS)
    assert loss(*batch).item() == pytest.approx(np.mean(costs), rel=1e-5)


def test_balanced_softmax_by_hand(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Ren et al. 2020, eq. 4."""
    logits, labels = arrays(batch)
    powers = COUNTS.numpy() * np.exp(logits)
    p = powers[np.arange(16), labels] / powers.sum(1)
    found = balanced_softmax(BalancedSoftmaxConfig(), COUNTS)(*batch)
    assert found.item() == pytest.approx(-np.log(p).mean(), rel=1e-5)


@pytest.mark.parametrize("weights", ["none", "effective"])
def test_ldam_by_hand(batch: tuple[torch.Tensor, torch.Tensor], weights: str) -> None:
    """Cao et al. 2019, eq. 13, with the largest margin 0.7."""
    logits, labels = arrays(batch)
    margins = COUNTS.numpy() ** -0.25
    margins *= 0.7 / margins.max()
    w = effective_weights(COUNTS, 0.99).numpy() if weights == "effective" else np.ones(3)
    total = 0.0
    for f, y in zip(logits, labels, strict=True):
        own = np.exp(f[y] - margins[y])
        total -= w[y] * np.log(own / (own + sum(np.exp(f[k]) for k in range(3) if k != y)))
    loss = Ldam(LdamConfig(max_margin=0.7, class_weights=weights, effective_beta=0.99), COUNTS)
    assert loss(*batch).item() == pytest.approx(total / w[labels].sum(), rel=1e-5)


def test_ldam_without_a_margin_is_cross_entropy(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.testing.assert_close(Ldam(LdamConfig(max_margin=0), COUNTS)(*batch), F.cross_entropy(*batch))


NAMES = ["balanced_softmax", "cross_entropy", "focal", "ldam", "logit_adjusted"]


def make(name: str, counts: torch.Tensor = COUNTS, **options: object) -> nn.Module:
    """A loss as a configuration makes it."""
    found: nn.Module = builder("loss", name)(entries("loss")[name].schema(**options), counts)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_deferred_weights_apply_from_their_epoch_on(
    name: str, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    loss = make(name, class_weights="balanced", weights_from_epoch=3)
    plain, weighted = make(name)(*batch), make(name, class_weights="balanced")(*batch)
    assert not torch.isclose(plain, weighted)
    for epoch, expected in ((0, plain), (2, plain), (3, weighted), (7, weighted), (1, plain)):
        loss.epoch = epoch
        torch.testing.assert_close(loss(*batch), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", ["none", "balanced", "effective"])
@pytest.mark.parametrize("name", NAMES)
def test_soft_targets_equal_hard_ones_when_certain(
    batch: tuple[torch.Tensor, torch.Tensor], name: str, weights: str, smoothing: float
) -> None:
    logits, labels = batch
    loss = make(name, class_weights=weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, F.one_hot(labels, 3).float()), loss(logits, labels))


@pytest.mark.parametrize("name", NAMES)
def test_a_mixed_target_costs_the_mixture(name: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    loss = make(name, label_smoothing=0.1)
    others = labels.roll(1)
    mixed = 0.3 * F.one_hot(labels, 3) + 0.7 * F.one_hot(others, 3)
    torch.testing.assert_close(loss(logits, mixed), 0.3 * loss(logits, labels) + 0.7 * loss(logits, others))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_images_does_no_harm(name: str) -> None:
    loss = make(name, torch.tensor([10, 0, 30]), class_weights="effective", label_smoothing=0.1)
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss(logits, torch.tensor([0, 2] * 4)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_lower_every_loss(name: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    loss = make(name, class_weights="balanced")
    free = logits.clone().requires_grad_()
    first = loss(free, labels).item()
    optimizer = torch.optim.SGD([free], lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        loss(free, labels).backward()
        optimizer.step()
    assert loss(free, labels).item() < 0.9 * first


def test_focal_has_a_gradient_where_a_probability_is_one() -> None:
    """With γ < 1 the slope of (1 − p)^γ has no bound at p = 1, which 32-bit floats reach."""
    logits = torch.tensor([[40.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    Focal(FocalConfig(gamma=0.5), COUNTS)(logits, torch.tensor([0, 1])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    expected = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    p = expected.softmax(0)[1]
    (-((1 - p) ** 0.5) * p.log() / 2).backward()
    assert expected.grad is not None
    torch.testing.assert_close(logits.grad, torch.stack([torch.zeros(3), expected.grad.float()]))
