"""Mixup and cutmix by hand, and that they are a function of the step alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emotion import counter
from emotion.models.mixing import Mixing

BOTH = [Mixing(0.4, 0), Mixing(0, 1.0)]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Each image is one value everywhere, its number; its target is that class."""
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 12, 10).clone()
    return images, F.one_hot(torch.arange(8)).float()


@pytest.mark.parametrize("mixing", BOTH, ids=str)
def test_a_target_says_how_much_of_each_image_is_seen(
    mixing: Mixing, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    partial = 0
    for seed in range(50):
        images, targets = mixing(*batch, seed=seed)
        torch.testing.assert_close(targets.sum(1), torch.ones(8))
        torch.testing.assert_close(images.mean((1, 2, 3)), targets @ torch.arange(8.0))
        partial += int(((targets > 0).sum(1) == 2).any())
    assert partial > 25


def test_mixup_blends_and_cutmix_pastes_a_rectangle(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    for seed in range(20):
        blended, _ = Mixing(0.4, 0)(*batch, seed=seed)
        assert all(image.unique().numel() == 1 for image in blended)
        pasted, targets = Mixing(0, 1.0)(*batch, seed=seed)
        for number, image in enumerate(pasted):
            foreign = image[0] != number
            rows, columns = foreign.any(1), foreign.any(0)
            assert torch.equal(foreign, rows[:, None] & columns[None])  # a rectangle
            if foreign.any():
                (partner,) = image[0][foreign].unique().int().tolist()
                assert targets[number, partner] == pytest.approx(foreign.float().mean().item())


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_from_a_beta_distribution(alpha: float, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    from scipy.stats import beta, kstest

    shares = []
    for seed in range(400):
        _, targets = Mixing(alpha, 0)(*batch, seed=seed)
        shares.append(targets.diagonal().min().item())  # 1 where an image is its own partner
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 1e-3


def test_with_both_each_batch_gets_one(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    whole = [
        all(image.unique().numel() == 1 for image in Mixing(5.0, 5.0)(*batch, seed=seed)[0])
        for seed in range(60)
    ]
    assert 15 < sum(whole) < 45


@pytest.mark.parametrize("mixing", BOTH, ids=str)
def test_it_is_a_function_of_the_step(mixing: Mixing, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    seeds = [int(counter.mix(*step)) >> 1 for step in np.ndindex(2, 2, 2, 2)]
    torch.manual_seed(1)
    first = [mixing(*batch, seed=seed) for seed in seeds]
    torch.rand(3)
    again = [mixing(*batch, seed=seed) for seed in seeds]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert len({targets.numpy().tobytes() for _, targets in first}) > len(seeds) // 2


def test_it_leaves_its_arguments_and_the_generator_alone(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, targets = batch[0].clone(), batch[1].clone()
    before = torch.get_rng_state()
    for mixing in BOTH:
        mixing(*batch, seed=3)
    assert torch.equal(batch[0], images)
    assert torch.equal(batch[1], targets)
    assert torch.equal(torch.get_rng_state(), before)


def test_off_is_false() -> None:
    assert not Mixing(0, 0)
    assert Mixing(0.2, 0)
    assert Mixing(0, 1)
