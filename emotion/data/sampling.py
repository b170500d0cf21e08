"""Which training images an epoch shows, in which order and how often."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from emotion.registry import Named, builder

_PURPOSE = 10  # keeps these random streams apart from those of the splits


class Sampling(Protocol):
    """A way to fill an epoch."""

    def plan(self, labels: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """What an epoch shows, in order.

        Args:
            labels: (N,) int64 of the training part.
            seed: the run's.
            epoch: from 0.

        Returns:
            Positions in `labels` (M,) int64, and draws (M,) int64: how often the epoch has drawn the position
            already, so that each draw of an image can be augmented differently.
        """
        ...

    def size(self, labels: np.ndarray) -> int:
        """M, the same in every epoch."""
        ...

    @property
    def first_augmented(self) -> int:
        """The draw number from which on an image is augmented."""
        ...


@dataclass(frozen=True)
class Natural:
    """Every image once."""

    first_augmented = 0

    def plan(self, labels: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return _rng(seed, epoch).permutation(len(labels)), np.zeros(len(labels), np.int64)

    def size(self, labels: np.ndarray) -> int:
        return len(labels)


@dataclass(frozen=True)
class Undersample:
    """At most `per_class` images of each class, others in each epoch; None: as many as the rarest class has."""

    per_class: int | None = None

    first_augmented = 0

    def plan(self, labels: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return _shares(labels, self._amounts(labels), _rng(seed, epoch))

    def size(self, labels: np.ndarray) -> int:
        return int(self._amounts(labels).sum())

    def _amounts(self, labels: np.ndarray) -> np.ndarray:
        present = _present(labels)
        return np.minimum(present, present.min() if self.per_class is None else self.per_class)


@dataclass(frozen=True)
class Oversample:
    """As many draws of each class as the commonest one has images: every image is drawn, the rare ones often.

    Within a class the images are drawn equally often, give or take one.

    Attributes:
        augmented: "all" draws, or only the "copies": an image's first draw of an epoch then is the image itself.
    """

    augmented: Literal["all", "copies"] = "all"

    @property
    def first_augmented(self) -> int:
        return 0 if self.augmented == "all" else 1

    def plan(self, labels: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return _shares(labels, self._amounts(labels), _rng(seed, epoch))

    def size(self, labels: np.ndarray) -> int:
        return int(self._amounts(labels).sum())

    def _amounts(self, labels: np.ndarray) -> np.ndarray:
        present = _present(labels)
        return np.full_like(present, present.max())


@dataclass(frozen=True)
class ByPower:
    """As many draws as there are images, each class's share proportional to n_k ** power.

    0 is class-balanced and 0.5 square-root sampling (Kang et al. 2020, eq. 1). Of a class with more images than draws
    each epoch shows others; the images of the rare ones are drawn equally often, give or take one.
    """

    power: float

    first_augmented = 0

    def plan(self, labels: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return _shares(labels, self._amounts(labels), _rng(seed, epoch))

    def size(self, labels: np.ndarray) -> int:
        return len(labels)

    def _amounts(self, labels: np.ndarray) -> np.ndarray:
        """Whole numbers that add up to N: rounded down, then one more for the largest remainders."""
        weights = _present(labels).astype(float) ** self.power
        exact = len(labels) * weights / weights.sum()
        amounts = np.floor(exact + 1e-9).astype(np.int64)
        amounts[np.argsort(amounts - exact, kind="stable")[: len(labels) - amounts.sum()]] += 1
        return amounts


def balanced() -> ByPower:
    """Every class is drawn equally often."""
    return ByPower(0.0)


def square_root() -> ByPower:
    """Between `balanced` and `natural`."""
    return ByPower(0.5)


def build(section: Named) -> Sampling:
    """The sampling of a configuration's section `sampling`."""
    sampling: Sampling = builder("sampling", section.name)(**section.model_dump(exclude={"name"}))
    return sampling


def _rng(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng((seed, _PURPOSE, epoch))


def _present(labels: np.ndarray) -> np.ndarray:
    """Images of each class that has any."""
    counts = np.bincount(labels)
    return counts[counts > 0]


def _shares(
    labels: np.ndarray, amounts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`amounts` draws of the classes that occur, in the order of their numbers; mixed."""
    positions, draws = [], []
    for label, amount in zip(np.unique(labels), amounts.tolist(), strict=True):
        rows = np.flatnonzero(labels == label)
        rounds, rest = divmod(amount, len(rows))
        positions += [np.tile(rows, rounds), rng.permutation(rows)[:rest]]
        draws += [np.repeat(np.arange(rounds), len(rows)), np.full(rest, rounds)]
    order = rng.permutation(int(amounts.sum()))
    return np.concatenate(positions)[order], np.concatenate(draws)[order]


Draw = tuple[int, int, int]


class EpochBatches:
    """A batch sampler for torch: lists of (row, draw, epoch), the same for any number of workers.

    A last batch of one image is left out where there are others: batch normalisation can't train on it.

    With several ranks each gets every world_size-th draw; the epoch is filled up with further draws of its
    first images until the ranks have equally many.

    Args:
        rows: (N,) int64, the store's rows of the training part.
        labels: (N,) int64, their labels.
        sampling: how an epoch is filled.
        batch_size: draws a batch and rank.
        seed: the run's.
        rank: this process among `world_size`.
        world_size: number of processes.
        first_epoch: the epoch that training begins or continues with. Lightning names an earlier one to a continued
            run, whose workers would fetch that epoch's batches before it corrects itself.
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        sampling: Sampling,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        first_epoch: int = 0,
    ) -> None:
        self.rows = rows
        self.labels = labels
        self.sampling = sampling
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.first_epoch = self.epoch = first_epoch

    @property
    def sampler(self) -> "EpochBatches":
        """Itself: Lightning calls `set_epoch` of a batch sampler's `sampler` at the start of each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = max(epoch, self.first_epoch)

    def __len__(self) -> int:
        draws = -(-self.sampling.size(self.labels) // self.world_size)
        full, rest = divmod(draws, self.batch_size)
        return full + int(rest > 1 or (rest == 1 and full == 0))

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch = self.epoch
        positions, draws = self.sampling.plan(self.labels, self.seed, epoch)
        missing = -len(positions) % self.world_size
        if missing:
            extra = np.resize(positions, missing)
            # Beyond any draw number of the plan, and different where the few images are repeated themselves.
            further = draws.max() + 1 + np.arange(missing)
            positions, draws = np.concatenate([positions, extra]), np.concatenate([draws, further])
        rows = self.rows[positions[self.rank :: self.world_size]]
        mine = draws[self.rank :: self.world_size]
        del positions  # else it would be held for the whole epoch
        for batch in range(len(self)):
            part = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield [
                (row, draw, epoch) for row, draw in zip(rows[part].tolist(), mine[part].tolist(), strict=True)
            ]


class ConsecutiveBatches:
    """A batch sampler that goes through rows once, in order: lists of (row, 0, 0)."""

    def __init__(self, rows: np.ndarray, batch_size: int) -> None:
        self.rows = rows
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        for start in range(0, len(self.rows), self.batch_size):
            yield [(row, 0, 0) for row in self.rows[start : start + self.batch_size].tolist()]
