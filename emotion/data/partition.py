"""Dealing samples to parts so that groups stay whole and every class has its share in every part.

scikit-learn's StratifiedGroupKFold does the same for folds. This deals single samples exactly and improves
what is left by exchanging groups, so it is never further from the shares; and it takes milliseconds where
the other takes seconds, because most groups of a face data set have one member.
"""

import numpy as np

# Starts from other orders until the bound is reached: many for few groups, where one wrong placement is all.
_MAX_STARTS = 64
_GROUPS_TO_PLACE = 4000
_MAX_STEPS = 400
_MAX_CANDIDATES = 300


def partition(
    labels: np.ndarray, groups: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The part of each sample, (N,) int64 in 0…P-1.

    Minimises the sum over classes and parts of the squared distance between the number of samples and the
    class's size times the part's share. At its lower bound every count is within one sample of its share.

    Args:
        labels: (N,) non-negative integers.
        groups: (N,) non-negative integers; samples of one group come into one part.
        shares: (P,) positive, summing to 1.
        rng: decides between equally good ways.
    """
    if not len(labels):
        return np.empty(0, np.int64)
    _, labels = np.unique(labels, return_inverse=True)
    _, groups = np.unique(groups, return_inverse=True)
    classes = int(labels.max()) + 1
    sizes = np.bincount(groups)
    alone = sizes[groups] == 1
    multi_ids, multi = np.unique(groups[~alone], return_inverse=True)
    vectors = np.zeros((len(multi_ids), classes))
    np.add.at(vectors, (multi, labels[~alone]), 1)
    singles = np.bincount(labels[alone], minlength=classes)

    targets = np.bincount(labels, minlength=classes)[:, None] * shares
    problem = _Problem(vectors, singles, targets)
    placed, dealt = problem.best(rng)

    parts = np.empty(len(labels), np.int64)
    parts[~alone] = placed[multi]
    for label in range(classes):
        rows = rng.permutation(np.flatnonzero(alone & (labels == label)))
        parts[rows] = np.repeat(np.arange(len(shares)), dealt[label])
    return parts


class _Problem:
    """Groups of several samples: class counts `vectors` (G, C). Single samples: `singles` (C,)."""

    def __init__(self, vectors: np.ndarray, singles: np.ndarray, targets: np.ndarray) -> None:
        self.vectors = vectors
        self.singles = singles
        self.targets = targets  # (C, P)
        sizes = vectors.sum(axis=0).astype(np.int64) + singles
        nothing = np.zeros_like(targets)
        self.bound = ((_fill(nothing, targets, sizes) - targets) ** 2).sum(axis=1)  # (C,)

    def best(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The part of each group (G,) and the number of singles a class and part (C, P)."""
        starts = min(max(_GROUPS_TO_PLACE // max(len(self.vectors), 1), 1), _MAX_STARTS)
        best, best_cost = None, np.inf
        for start in range(starts):
            solution = self._improved(self._greedy(rng, by_size=start % 2 == 0))
            cost = self.cost(*solution)
            if best is None or cost < best_cost - 1e-9:
                best, best_cost = solution, cost
            if best_cost <= self.bound.sum() + 1e-9:
                break
        assert best is not None
        return best

    def _improved(self, placed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        best = placed.copy(), self._deal(placed)
        active = np.zeros(len(self.singles), bool)
        while len(self.vectors):
            hard = self._class_costs(placed, self._deal(placed)) > self.bound + 1e-9
            if not (hard & ~active).any():
                break
            # Classes that the singles can even out don't restrain the exchange.
            active |= hard
            placed = self._exchange(placed, active)
            candidate = placed.copy(), self._deal(placed)
            if self.cost(*candidate) < self.cost(*best) - 1e-9:
                best = candidate
        return best

    def cost(self, placed: np.ndarray, dealt: np.ndarray) -> float:
        return float(self._class_costs(placed, dealt).sum())

    def _counts(self, placed: np.ndarray) -> np.ndarray:
        """Samples in groups a class and part, (C, P)."""
        counts = np.zeros_like(self.targets)
        for part in range(self.targets.shape[1]):
            counts[:, part] = self.vectors[placed == part].sum(axis=0)
        return counts

    def _class_costs(self, placed: np.ndarray, dealt: np.ndarray) -> np.ndarray:
        return np.asarray(((self._counts(placed) + dealt - self.targets) ** 2).sum(axis=1))

    def _deal(self, placed: np.ndarray) -> np.ndarray:
        counts = self._counts(placed)
        return _fill(counts, self.targets, self.singles) - counts.astype(np.int64)

    def _greedy(self, rng: np.random.Generator, by_size: bool) -> np.ndarray:
        """Each group to where it comes closest to the shares, the largest first or in any order."""
        order = rng.permutation(len(self.vectors))
        if by_size:
            order = order[np.argsort(-self.vectors[order].sum(axis=1), kind="stable")]
        excess = -self.targets.T.copy()  # (P, C)
        placed = np.empty(len(self.vectors), np.int64)
        for group in order:
            vector = self.vectors[group]
            # |excess + v|² - |excess|² = 2 excess·v + |v|²
            part = int((excess @ vector).argmin())
            excess[part] += vector
            placed[group] = part
        return placed

    def _exchange(self, placed: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Move one group, or swap two, as long as that brings the active classes closer to their shares.

        Singles of the active classes take part as groups of one.
        """
        placed = placed.copy()
        singles = self._deal(placed)
        own = np.repeat(np.eye(len(active))[active], self.singles[active], axis=0)
        own_parts = np.concatenate(
            [np.repeat(np.arange(singles.shape[1]), singles[label]) for label in np.flatnonzero(active)]
        )
        vectors = np.concatenate([self.vectors, own])[:, active]
        where = np.concatenate([placed, own_parts])
        matters = vectors.any(axis=1)
        kept = np.flatnonzero(matters)
        vectors, where = vectors[kept], where[kept]
        excess = np.stack([vectors[where == part].sum(axis=0) for part in range(singles.shape[1])])
        excess -= self.targets[active].T
        for _ in range(_MAX_STEPS):
            step = _best_step(vectors, where, excess)
            if step is None:
                break
            for group, part in step:
                excess[where[group]] -= vectors[group]
                excess[part] += vectors[group]
                where[group] = part
        groups = kept < len(placed)
        placed[kept[groups]] = where[groups]
        return placed


def _best_step(vectors: np.ndarray, where: np.ndarray, excess: np.ndarray) -> list[tuple[int, int]] | None:
    """The move or swap that lowers the sum of squares most, as (group, new part) pairs; None if none does."""
    parts = len(excess)
    squares = (vectors**2).sum(axis=1)
    best, step = -1e-9, None
    members = [_distinct(vectors, np.flatnonzero(where == part)) for part in range(parts)]
    for a in range(parts):
        for b in range(parts):
            if a == b or not len(members[a]):
                continue
            gap = excess[b] - excess[a]
            out = vectors[members[a]] @ gap + squares[members[a]]
            chosen = int(out.argmin())
            if out[chosen] < best:
                best, step = float(out[chosen]), [(int(members[a][chosen]), b)]
            if a > b or not len(members[b]):
                continue
            # d = v_i - v_j moves from a to b: d·gap + |d|²
            back = -(vectors[members[b]] @ gap) + squares[members[b]]
            change = out[:, None] + back[None, :] - 2 * vectors[members[a]] @ vectors[members[b]].T
            i, j = divmod(int(change.argmin()), change.shape[1])
            if change[i, j] < best:
                best, step = float(change[i, j]), [(int(members[a][i]), b), (int(members[b][j]), a)]
    return step


def _distinct(vectors: np.ndarray, members: np.ndarray) -> np.ndarray:
    """One group of each composition, the smallest ones where there are very many."""
    if len(members) == 0:
        return members
    # By a random projection, because sorting rows is ten times slower.
    weights = np.random.default_rng(0).random(vectors.shape[1])
    _, first = np.unique(vectors[members] @ weights, return_index=True)
    distinct = members[np.sort(first)]
    if len(distinct) > _MAX_CANDIDATES:
        smallest = np.argsort(vectors[distinct].sum(axis=1), kind="stable")[:_MAX_CANDIDATES]
        distinct = distinct[smallest]
    return distinct


def _fill(counts: np.ndarray, targets: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """`counts` (C, P) raised by whole `amounts` (C,) a class, as close to `targets` as can be."""
    filled = counts.astype(np.int64)
    for label, amount in enumerate(amounts):
        lack = targets[label] - filled[label]
        added = _water(lack, int(amount))
        while (left := int(amount - added.sum())) > 0:
            # Ties go to the part that has the least of all classes so far.
            rest = lack - added
            spread = filled.sum(axis=0) - targets.sum(axis=0)
            order = np.lexsort((spread, -np.round(rest, 9)))
            added[order[:left]] += 1
        filled[label] += added
    return filled


def _water(lack: np.ndarray, amount: int) -> np.ndarray:
    """At most `amount` whole units poured so that the lacks become as equal as they can without going above."""
    order = np.sort(lack)[::-1]
    levels = (np.cumsum(order) - amount) / np.arange(1, len(order) + 1)
    # The water stands at the first level that the next lack lies below.
    below = np.append(order[1:], -np.inf) <= levels
    level = levels[np.argmax(below)]
    return np.floor(np.maximum(lack - level, 0) + 1e-9).astype(np.int64)
