"""What an epoch shows: shares, draw numbers, order, and equal work for every rank."""

from collections import Counter

import numpy as np
import pytest

from emotion.data.sampling import (
    ConsecutiveBatches,
    EpochBatches,
    Natural,
    Oversample,
    Sampling,
    Undersample,
    balanced,
    build,
    square_root,
)
from emotion.registry import entries

LABELS = np.repeat([0, 1, 3], [100, 35, 5])  # class 2 has no images
EVERY = [Natural(), Undersample(), Undersample(20), Oversample(), balanced(), square_root()]


def draws_are_numbered(positions: np.ndarray, draws: np.ndarray) -> bool:
    """Whether the draws of each position are 0, 1, 2, … in some order: no two of one image are alike."""
    seen: dict[int, list[int]] = {}
    for position, draw in zip(positions.tolist(), draws.tolist(), strict=True):
        seen.setdefault(position, []).append(draw)
    return all(sorted(numbers) == list(range(len(numbers))) for numbers in seen.values())


def test_natural_shows_every_image_once() -> None:
    positions, draws = Natural().plan(LABELS, 0, 0)
    assert sorted(positions) == list(range(140))
    assert not draws.any()


def test_undersample_shows_as_many_of_each_class_as_the_rarest_has() -> None:
    positions, draws = Undersample().plan(LABELS, 0, 0)
    assert Counter(LABELS[positions].tolist()) == {0: 5, 1: 5, 3: 5}
    assert len(set(positions)) == 15
    assert not draws.any()


def test_undersample_shows_others_in_each_epoch() -> None:
    shown = set()
    for epoch in range(60):
        shown |= set(Undersample().plan(LABELS, 0, epoch)[0].tolist())
    assert len(shown) > 130


def test_undersample_to_a_number_leaves_smaller_classes_whole() -> None:
    positions, draws = Undersample(20).plan(LABELS, 0, 0)
    assert Counter(LABELS[positions].tolist()) == {0: 20, 1: 20, 3: 5}
    assert len(set(positions)) == 45
    assert not draws.any()


@pytest.mark.parametrize(("sampling", "power"), [(balanced(), 0.0), (square_root(), 0.5)])
def test_an_epoch_of_shares_has_as_many_draws_as_there_are_images(sampling: Sampling, power: float) -> None:
    positions, draws = sampling.plan(LABELS, 0, 0)
    assert len(positions) == 140
    weights = np.array([100, 35, 5]) ** power  # Kang et al. 2020, eq. 1
    found = Counter(LABELS[positions].tolist())
    for label, weight in zip((0, 1, 3), weights, strict=True):
        assert abs(found[label] - 140 * weight / weights.sum()) < 1
    assert draws_are_numbered(positions, draws)
    shown = set().union(*(sampling.plan(LABELS, 0, epoch)[0].tolist() for epoch in range(30)))
    assert len(shown) == 140


def test_only_oversampling_s_copies_can_be_augmented_alone() -> None:
    sections = [entries("sampling")[name].schema() for name in entries("sampling")]
    assert [build(section).first_augmented for section in sections] == [0] * len(sections)
    assert Oversample("copies").first_augmented == 1


def test_oversample_shows_as_many_of_each_class_as_the_commonest_has() -> None:
    positions, draws = Oversample().plan(LABELS, 0, 0)
    assert Counter(LABELS[positions].tolist()) == {0: 100, 1: 100, 3: 100}
    times = Counter(positions.tolist())
    assert {times[p] for p in range(100)} == {1}
    assert {times[p] for p in range(100, 135)} == {2, 3}  # 100 = 2 · 35 + 30
    assert {times[p] for p in range(135, 140)} == {20}
    assert draws_are_numbered(positions, draws)


def test_draws_that_are_not_counted_would_be_noticed() -> None:
    positions, draws = Oversample().plan(LABELS, 0, 0)
    assert not draws_are_numbered(positions, np.zeros_like(draws))
    assert not draws_are_numbered(positions, np.minimum(draws, 18))


@pytest.mark.parametrize("sampling", EVERY)
def test_a_plan_is_a_function_of_seed_and_epoch(sampling: Sampling) -> None:
    np.random.default_rng(0).random()
    first, again = sampling.plan(LABELS, 3, 5), sampling.plan(LABELS, 3, 5)
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], sampling.plan(LABELS, 3, 6)[0])
    assert not np.array_equal(first[0], sampling.plan(LABELS, 4, 5)[0])
    assert len(first[0]) == sampling.size(LABELS)


@pytest.mark.parametrize("sampling", EVERY)
def test_the_order_is_mixed(sampling: Sampling) -> None:
    positions, _ = sampling.plan(LABELS, 0, 0)
    early = Counter(LABELS[positions[: len(positions) // 2]].tolist())
    late = Counter(LABELS[positions[len(positions) // 2 :]].tolist())
    assert all(min(early[label], late[label]) > 0 for label in (0, 1, 3))


def batches(sampling: Sampling, **changes: object) -> EpochBatches:
    rows = np.arange(len(LABELS)) * 10 + 7
    return EpochBatches(rows, LABELS, sampling, **({"batch_size": 16, "seed": 0} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("sampling", EVERY)
def test_batches_are_the_plan_in_rows_of_the_store(sampling: Sampling) -> None:
    found = batches(sampling)
    found.set_epoch(2)
    positions, draws = sampling.plan(LABELS, 0, 2)
    assert [draw for batch in found for draw in batch] == [
        (position * 10 + 7, draw, 2)
        for position, draw in zip(positions.tolist(), draws.tolist(), strict=True)
    ]
    assert len(list(found)) == len(found)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [
        (16, [16] * 8 + [12]),
        (139, [139]),  # a last batch of one image is left out
        (70, [70, 70]),
        (200, [140]),
    ],
)
def test_the_last_batch(batch_size: int, sizes: list[int]) -> None:
    found = batches(Natural(), batch_size=batch_size)
    assert [len(batch) for batch in found] == sizes
    assert len(found) == len(sizes)


@pytest.mark.parametrize("sampling", EVERY)
@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_ranks_share_an_epoch_in_equal_parts(sampling: Sampling, world_size: int) -> None:
    ranks = [list(batches(sampling, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({tuple(len(batch) for batch in rank) for rank in ranks}) == 1
    assert len(ranks[0]) == len(batches(sampling, rank=0, world_size=world_size))
    drawn = Counter(draw for rank in ranks for batch in rank for draw in batch)
    alone = Counter(draw for batch in batches(sampling) for draw in batch)
    assert max(drawn.values()) == 1
    assert not alone - drawn
    assert sum((drawn - alone).values()) < world_size


def test_lightning_finds_set_epoch_where_it_looks_for_it() -> None:
    found = batches(Natural())
    found.sampler.set_epoch(4)
    assert {epoch for batch in found for _, _, epoch in batch} == {4}


def test_evaluation_goes_through_the_rows_in_order() -> None:
    found = ConsecutiveBatches(np.array([3, 5, 8, 9, 11]), 2)
    assert list(found) == [[(3, 0, 0), (5, 0, 0)], [(8, 0, 0), (9, 0, 0)], [(11, 0, 0)]]
    assert len(found) == 3
