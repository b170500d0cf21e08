"""Which samples train, which select and which are scored once: splits, folds and the leaks between them."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from emotion.data.partition import partition
from emotion.data.table import SPLITS
from emotion.errors import DataError

FORMAT = 1
# What a random stream is for. Changing one changes every split of that kind.
_TEST, _VAL, _FOLDS = 0, 1, 2
_LARGE = 0.1
_LINKS = {"id": "id", "group": "group", "duplicate": "digest", "near duplicate": "cluster"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, sorted, int64, and the manifest: plain values that say how they came about.

    Manifest: `format`; `strategy` (official, given, holdout or kfold); `made` (the parts of our making);
    `fold`, `folds`, `seed`, `val_fraction`, `test_fraction`; `counts` a part and class; `hash` of each
    part's ids; `leaks` (kind, parts, count, ids in the second part); `leaked_test_ids` (test samples that
    share an id, a group or their pixels with anything that the run learns from or selects by); `warnings`.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    manifest: dict[str, Any]

    def part(self, name: str) -> np.ndarray:
        """The rows of "train", "val" or "test"."""
        rows: np.ndarray = {"train": self.train, "val": self.val, "test": self.test}[name]
        return rows


@dataclass(frozen=True)
class Leak:
    """Samples of the second part that share something with the first.

    Attributes:
        kind: "id", "group", "duplicate" (identical prepared pixels) or "near duplicate" (with
            data.group_by=duplicate).
        parts: two of train, val, test.
        ids: the samples in the second part.
    """

    kind: str
    parts: tuple[str, str]
    ids: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "parts": list(self.parts), "count": len(self.ids), "ids": list(self.ids)}


def make_split(
    frame: pl.DataFrame,
    *,
    fold: int | None,
    folds: int,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    classes: Sequence[str] = (),
    official: bool = True,
) -> Split:
    """Split a store's samples.

    Without `fold`, the frame's own split where it has one, else a hold-out: the test part is
    `test_fraction` of all samples, the validation part `val_fraction` of the others. A part that the
    frame's split lacks is taken from its training part likewise. With `fold`, everything that isn't test is
    dealt to `folds` parts and the given one validates. The test part depends on neither `fold` nor `folds`.

    Parts of our making are stratified by label and keep groups and identical images together. The result
    doesn't depend on the order of the rows.

    Args:
        frame: id, label, split, and group, digest and cluster (of near duplicates) where known.
        fold: 0…folds-1, or None.
        folds: number of folds.
        val_fraction: share of the validation part, in (0, 1).
        test_fraction: share of the test part, in (0, 1).
        seed: non-negative.
        classes: names of the labels, for counts and messages.
        official: whether the frame's own split is the published one.

    Raises:
        DataError: a class has fewer groups than folds, a part would be empty, or parts of our making share
            something.
    """
    if fold is not None and not 0 <= fold < folds:
        raise DataError(f"expected fold 0 to {folds - 1} (folds={folds}), found {fold}.")
    order = frame["id"].arg_sort().to_numpy()
    table = frame[order]
    names = {
        label: classes[label] if label < len(classes) else str(label) for label in table["label"].unique()
    }
    dealer = _Dealer(table, names, seed)

    given = table["split"].null_count() == 0
    parts = {name: np.flatnonzero((table["split"] == name).fill_null(False).to_numpy()) for name in SPLITS}
    if not given:
        parts["train"] = np.arange(table.height)
    made = [name for name in ("test", "val") if not len(parts[name])]
    if "test" in made:
        parts["train"], parts["test"] = dealer.hold_out(parts["train"], test_fraction, _TEST, parts["val"])
    if fold is not None:
        made = [*(name for name in made if name == "test"), "val"]
        pool = np.sort(np.concatenate([parts["train"], parts["val"]]))
        parts["train"], parts["val"] = dealer.fold(pool, fold, folds)
    elif "val" in made:
        parts["train"], parts["val"] = dealer.hold_out(parts["train"], val_fraction, _VAL)
    for name in SPLITS:
        if not len(parts[name]):
            raise DataError(
                f"the {name} part is empty: {table.height} samples, of which {dealer.largest} belong together "
                f"(persons, identical images), can't be split with val_fraction={val_fraction}, "
                f"test_fraction={test_fraction}. Use more data or other fractions."
            )

    given_name = ("official" if official else "given") if given and len(made) < 2 else "holdout"
    rows = {name: np.sort(order[part]).astype(np.int64) for name, part in parts.items()}
    split = Split(
        **rows,
        manifest={
            "format": FORMAT,
            "strategy": "kfold" if fold is not None else given_name,
            "made": made,
            "fold": fold,
            "folds": folds if fold is not None else None,
            "seed": seed,
            "val_fraction": val_fraction if fold is None and "val" in made else None,
            "test_fraction": test_fraction if "test" in made else None,
            "counts": _counts(frame, rows, names),
            "hash": {name: _digest(frame["id"].gather(part)) for name, part in rows.items()},
        },
    )
    found = leaks(frame, split)
    _refuse_own_leaks(found, made)
    split.manifest["leaks"] = [leak.to_dict() for leak in found]
    leaked = {sample for leak in found if leak.parts[1] == "test" for sample in leak.ids}
    split.manifest["leaked_test_ids"] = sorted(leaked)
    split.manifest["warnings"] = _missing_classes(split.manifest["counts"])
    if made and dealer.largest > _LARGE * table.height:
        split.manifest["warnings"].append(
            f"{dealer.largest} of {table.height} samples belong together: persons and identical images chain them. "
            "One image under many persons (a blank one?) does that."
        )
    for warning in split.manifest["warnings"]:
        log.warning(warning)
    return split


def leaks(frame: pl.DataFrame, split: Split) -> list[Leak]:
    """What the parts of a split share: ids, groups and identical images, in the order of kinds and parts.

    Args:
        frame: id, and group, digest and cluster where known.
        split: any split of the frame's rows.
    """
    found = []
    for kind, column in _LINKS.items():
        if column not in frame.columns or frame[column].null_count() == frame.height:
            continue
        codes = _codes(frame[column])
        for first, second in combinations(SPLITS, 2):
            seen = np.zeros(codes.max() + 1, bool)
            seen[codes[split.part(first)]] = True
            seen[0] = False  # null is nobody
            shared = split.part(second)[seen[codes[split.part(second)]]]
            if len(shared):
                found.append(Leak(kind, (first, second), tuple(frame["id"].gather(shared).sort())))
    return found


def clusters(frame: pl.DataFrame) -> np.ndarray:
    """(N,) int64: equal for samples that must stay together, because a chain of groups and twins joins them."""
    found = np.arange(frame.height)
    links = [_codes(frame[name]) for name in ("group", "digest", "cluster") if name in frame.columns]
    links = [
        codes for codes in links if (codes[codes > 0] != found[codes > 0] + 1).any()
    ]  # some value repeats
    while True:
        before = found
        for codes in links:
            first = np.full(codes.max() + 1, frame.height)
            np.minimum.at(first, codes, found)
            found = np.where(codes > 0, first[codes], found)
        if np.array_equal(found, before):
            return found


def _codes(values: pl.Series) -> np.ndarray:
    """(N,) int64: a positive number for each distinct value, 0 for null."""
    rows = values.to_frame("value").with_row_index("row", offset=1)
    first = rows.select(pl.col("row").cast(pl.Int64).min().over("value")).to_series()
    return np.where(values.is_null().to_numpy(), 0, first.to_numpy())


class _Dealer:
    """Deals rows of a table that is sorted by id."""

    def __init__(self, table: pl.DataFrame, names: dict[int, str], seed: int) -> None:
        self.labels = table["label"].to_numpy()
        self.clusters = clusters(table)
        self.largest = int(np.bincount(self.clusters).max())
        self.names = names
        self.seed = seed

    def hold_out(
        self, rows: np.ndarray, fraction: float, purpose: int, beside: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`rows` without, and with only, a stratified `fraction` of them.

        Clusters that reach into the given part `beside` are not held out, so that nothing new leaks into it.
        """
        tied = (
            np.isin(self.clusters[rows], self.clusters[beside])
            if beside is not None
            else np.zeros(len(rows), bool)
        )
        free = rows[~tied]
        share = fraction * len(rows) / max(len(free), 1)
        if not len(free) or share >= 1:
            return rows, rows[:0]
        dealt = partition(
            self.labels[free],
            self.clusters[free],
            np.array([1 - share, share]),
            np.random.default_rng((self.seed, purpose)),
        )
        return np.sort(np.concatenate([rows[tied], free[dealt == 0]])), free[dealt == 1]

    def fold(self, pool: np.ndarray, fold: int, folds: int) -> tuple[np.ndarray, np.ndarray]:
        """The pool without, and only, one of its folds."""
        self._require_groups(pool, folds)
        dealt = partition(
            self.labels[pool],
            self.clusters[pool],
            np.full(folds, 1 / folds),
            np.random.default_rng((self.seed, _FOLDS, folds)),
        )
        return pool[dealt != fold], pool[dealt == fold]

    def _require_groups(self, pool: np.ndarray, folds: int) -> None:
        problems = []
        for label, name in sorted(self.names.items()):
            rows = pool[self.labels[pool] == label]
            groups = len(np.unique(self.clusters[rows]))
            if 0 < groups < folds:
                problems.append(f"{name} has {len(rows)} samples in {groups} groups")
        if problems:
            raise DataError(
                "expected every class to have at least as many samples and groups (persons, identical "
                f"images) as folds={folds}; found {', '.join(problems)}. Use fewer folds, more data, or "
                "leave the class out."
            )


def _refuse_own_leaks(found: list[Leak], made: list[str]) -> None:
    """A leak between parts of which we made one is ours; one that a published split brings is only measured."""
    for leak in found:
        ours = "test" in made if "test" in leak.parts else "val" in made
        if ours:
            first, second = leak.parts
            raise DataError(
                f"the split is not sound: {len(leak.ids)} samples of {second} share their {leak.kind} with "
                f"{first}, the first is {leak.ids[0]}. This is an error in emotion: please report it with "
                "splits.json."
            )


def _counts(
    frame: pl.DataFrame, rows: dict[str, np.ndarray], names: dict[int, str]
) -> dict[str, dict[str, int]]:
    labels = frame["label"].to_numpy()
    return {
        part: {name: int((labels[where] == label).sum()) for label, name in sorted(names.items())}
        for part, where in rows.items()
    }


def _missing_classes(counts: dict[str, dict[str, int]]) -> list[str]:
    missing = {part: [name for name, n in classes.items() if n == 0] for part, classes in counts.items()}
    return [f"the {part} part has no {', '.join(names)}." for part, names in missing.items() if names]


def _digest(ids: pl.Series) -> str:
    digest = hashlib.blake2b(digest_size=16)
    ordered = ids.sort()
    for start in range(0, len(ordered), 10_000):
        digest.update("\0".join([*ordered[start : start + 10_000], ""]).encode())
    return digest.hexdigest()
