"""Dealing to parts against brute force and scikit-learn."""

import itertools
import time

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from emotion.data.partition import partition


def counts(labels: np.ndarray, parts: np.ndarray, number: int) -> np.ndarray:
    """Samples a class and part, (C, P), counted one by one."""
    found = np.zeros((labels.max() + 1, number))
    for label, part in zip(labels, parts, strict=True):
        found[label, part] += 1
    return found


def distance(labels: np.ndarray, parts: np.ndarray, shares: np.ndarray) -> float:
    sizes = np.bincount(labels, minlength=labels.max() + 1)
    return float(((counts(labels, parts, len(shares)) - sizes[:, None] * shares) ** 2).sum())


def nearest(labels: np.ndarray, groups: np.ndarray, shares: np.ndarray) -> float:
    """The smallest distance of all ways to deal the groups."""
    names = np.unique(groups)
    return min(
        distance(labels, np.array([way[np.searchsorted(names, g)] for g in groups]), shares)
        for way in itertools.product(range(len(shares)), repeat=len(names))
    )


def case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = 2 if seed % 3 else 3
    sizes = rng.integers(1, rng.integers(2, 8), rng.integers(4, 9 if parts == 2 else 7))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    if seed % 2:
        labels = rng.integers(0, rng.integers(1, 5), len(groups))
    else:  # a person mostly shows one expression
        labels = np.where(
            rng.random(len(groups)) < 0.7,
            rng.integers(0, 3, len(sizes))[groups],
            rng.integers(0, 3, len(groups)),
        )
    shares = (
        np.full(parts, 1 / parts) if seed % 4 < 2 else np.array([0.8, 0.2] if parts == 2 else [0.7, 0.2, 0.1])
    )
    return labels, groups, shares


@pytest.mark.parametrize("seed", range(40))
def test_it_is_as_near_to_the_shares_as_any_way_of_dealing(seed: int) -> None:
    labels, groups, shares = case(seed)
    parts = partition(labels, groups, shares, np.random.default_rng(seed))
    assert distance(labels, parts, shares) == pytest.approx(nearest(labels, groups, shares))


def test_dealing_at_random_would_not_pass_that_test() -> None:
    worse = 0
    for seed in range(40):
        labels, groups, shares = case(seed)
        parts = np.random.default_rng(seed).integers(0, len(shares), groups.max() + 1)[groups]
        worse += distance(labels, parts, shares) > nearest(labels, groups, shares) + 1e-9
    assert worse > 30


@pytest.mark.parametrize("seed", range(6))
def test_groups_stay_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 300, 2000)
    parts = partition(rng.integers(0, 7, 2000), groups, np.full(5, 0.2), rng)
    assert all(len(set(parts[groups == group])) == 1 for group in np.unique(groups))
    assert set(parts) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("shares", [[0.25] * 4, [0.9, 0.1], [0.8, 0.2], [1 / 3] * 3])
@pytest.mark.parametrize("seed", range(3))
def test_without_groups_every_class_is_within_one_sample_of_its_share(seed: int, shares: list[float]) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, 1500, p=[0.4, 0.3, 0.1, 0.1, 0.06, 0.03, 0.01])
    found = counts(labels, partition(labels, np.arange(1500), np.array(shares), rng), len(shares))
    assert np.abs(found - np.bincount(labels)[:, None] * np.array(shares)).max() < 1


@pytest.mark.parametrize(("samples", "groups"), [(6000, 600), (1000, 100), (3000, 1500)])
def test_persons_with_several_expressions_stay_within_one_sample_too(samples: int, groups: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(7, samples, p=[0.3, 0.25, 0.15, 0.1, 0.1, 0.06, 0.04])
    found = counts(labels, partition(labels, rng.integers(0, groups, samples), np.full(4, 0.25), rng), 4)
    assert (found.max(axis=1) - found.min(axis=1)).max() <= 1


@pytest.mark.parametrize("seed", range(8))
def test_it_is_never_further_from_the_shares_than_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, groups = rng.choice(5, 400, p=[0.5, 0.2, 0.15, 0.1, 0.05]), rng.integers(0, 60, 400)
    shares = np.full(4, 0.25)
    theirs = np.empty(400, np.int64)
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(labels, labels, groups)):
        theirs[rows] = fold
    ours = partition(labels, groups, shares, rng)
    assert distance(labels, ours, shares) <= distance(labels, theirs, shares)


def test_what_is_left_over_is_spread_over_the_parts() -> None:
    labels = np.repeat(np.arange(8), 5)  # each class has one more than 4 parts can share
    parts = partition(labels, np.arange(40), np.full(4, 0.25), np.random.default_rng(0))
    assert np.bincount(parts).tolist() == [10, 10, 10, 10]


def test_the_generator_decides_which_samples_and_nothing_else_does() -> None:
    labels, groups = np.arange(200) % 3, np.arange(200) // 2
    first, again, other = (
        partition(labels, groups, np.full(2, 0.5), np.random.default_rng(s)) for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_time_is_linear_in_the_samples() -> None:
    def seconds(samples: int) -> float:
        rng = np.random.default_rng(0)
        labels, groups = rng.integers(0, 7, samples), rng.integers(0, samples // 2, samples)
        started = time.process_time()
        partition(labels, groups, np.full(4, 0.25), rng)
        return time.process_time() - started

    seconds(1000)
    assert seconds(160_000) < 30 * max(seconds(20_000), 0.01)  # 8 times the samples


def test_no_samples_no_parts() -> None:
    nothing = np.empty(0, np.int64)
    assert partition(nothing, nothing, np.full(2, 0.5), np.random.default_rng(0)).tolist() == []
