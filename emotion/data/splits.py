"""Which samples train, which select and which are scored once: splits, folds and the leaks between them."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import polars as pl

from emotion.data.leaky import COPY
from emotion.data.partition import partition
from emotion.data.table import EXTRA, SPLITS
from emotion.errors import DataError

FORMAT = 1
# What a random stream is for. Changing one changes every split of that kind.
_TEST, _VAL, _FOLDS, _SUBSET = 0, 1, 2, 3
OFFICIAL_TEST: Literal["official_test"] = "official_test"
_LARGE = 0.1
_LINKS = {"id": "id", "group": "group", "duplicate": "digest", "near duplicate": "cluster"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, sorted, int64, and the manifest: plain values that say how they came about.

    Manifest: `format`; `strategy` (official or given, as the test part is, holdout or kfold); `made` (the parts of
    our making); `fold`, `folds`, `seed`, `val_fraction`, `test_fraction`; `counts` a part and class; `hash` of each
    part's ids; `leaks` (kind, parts, count, ids in the second part); `leaked_test_ids` (test samples that
    share an id, a group or their pixels with anything that the run learns from or selects by); `warnings`; and
    where it applies `per_class`, `extra` (images beside the data set's own in train), `protocol` (leaky) and `before`
    (images of each class before a subset was drawn or copies were added).

    Attributes:
        official_test: where the other parts were made from a balanced subset of the rest: the test part that the data
            set was published with, for a second score; else empty.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    manifest: dict[str, Any]
    official_test: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that there are."""
        return (*SPLITS, OFFICIAL_TEST) if len(self.official_test) else SPLITS

    def part(self, name: str) -> np.ndarray:
        """The rows of "train", "val", "test" or "official_test"."""
        rows: np.ndarray = {
            "train": self.train,
            "val": self.val,
            "test": self.test,
            OFFICIAL_TEST: self.official_test,
        }[name]
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
    per_class: int | None = None,
    leaky: bool = False,
) -> Split:
    """Split a store's samples.

    Without `fold`, the frame's own split where it has one, else a hold-out: the test part is
    `test_fraction` of all samples, the validation part `val_fraction` of the others. A part that the
    frame's split lacks is taken from its training part likewise. With `fold`, everything that isn't test is
    dealt to `folds` parts and the given one validates. The test part depends on neither `fold` nor `folds`.

    Parts of our making are stratified by label and keep groups and identical images together. The result
    doesn't depend on the order of the rows.

    With `per_class`, a balanced subset of everything but the frame's test part is split as if the frame had no split,
    and that test part is kept beside. Samples marked "extra" train whatever the rest does, but those with the pixels
    of an image that selects or is scored, or in its cluster of near duplicates, are left out.

    Args:
        frame: id, label, split, and group, digest and cluster (of near duplicates) where known.
        fold: 0…folds-1, or None.
        folds: number of folds.
        val_fraction: share of the validation part, in (0, 1).
        test_fraction: share of the test part, in (0, 1).
        seed: non-negative.
        classes: names of the labels, for counts and messages.
        official: whether the frame's own split is the published one.
        per_class: images of each class in the subset; None: no subset.
        leaky: deal images one by one, whatever they share, and measure the leaks of our making instead of refusing
            them: a published protocol, to compare with.

    Raises:
        DataError: a class has fewer groups than folds or fewer samples than `per_class`, a part would be empty, or
            parts of our making share something.
    """
    if fold is not None and not 0 <= fold < folds:
        raise DataError(f"expected fold 0 to {folds - 1} (folds={folds}), found {fold}.")
    names = {
        label: classes[label] if label < len(classes) else str(label) for label in frame["label"].unique()
    }
    extra = (frame["split"] == EXTRA).fill_null(False).to_numpy()
    rows, beside = np.flatnonzero(~extra), np.empty(0, np.int64)
    whole = rows
    if per_class is not None:
        rows, beside = _balanced_subset(frame, rows, per_class, names, seed)
        whole = np.setdiff1d(whole, beside)
    if leaky:
        whole = whole[~frame["id"].gather(whole).str.contains(COPY, literal=True).to_numpy()]
    dealt = frame[rows]
    if per_class is not None:
        dealt = dealt.with_columns(split=pl.lit(None, pl.String))
    if leaky:
        dealt = dealt.select(pl.exclude("group", "digest", "cluster"))
    found = _deal(dealt, names, fold, folds, val_fraction, test_fraction, seed, official)
    split = Split(
        **{name: rows[found.part(name)] for name in SPLITS},
        manifest=found.manifest,
        official_test=beside,
    )
    warnings = list(split.manifest["warnings"])
    if extra.any():
        split, left_out = _with_extra(frame, split, np.flatnonzero(extra))
        split.manifest["extra"] = int(extra.sum()) - left_out
        if left_out:
            alike = "identical or nearly identical" if "cluster" in frame.columns else "identical"
            warnings.append(f"{left_out} extra images are {alike} to one of validation or test and left out.")
    found_leaks = leaks(frame, split)
    if not leaky:
        _refuse_own_leaks(found_leaks, split.manifest["made"])
    _describe(frame, split, names, found_leaks, warnings)
    if per_class is not None:
        split.manifest["per_class"] = per_class
    if per_class is not None or leaky:
        split.manifest["before"] = _counts(frame, {"before": whole}, names)["before"]
    count = len(split.manifest["leaked_test_ids"])
    if count and not leaky:
        split.manifest["warnings"].append(
            f"{count:,} of {len(split.test):,} test images share a person, a source or their pixels with what is "
            "learnt from or selected by."
        )
    if leaky:
        split.manifest["protocol"] = "leaky"
        split.manifest["warnings"].append(
            f"leaky protocol: {count} of {len(split.test)} test images share a photograph or a person with what is "
            "learnt from."
        )
    for warning in split.manifest["warnings"]:
        log.warning(warning)
    return split


def _describe(
    frame: pl.DataFrame, split: Split, names: dict[int, str], found: list[Leak], warnings: list[str]
) -> None:
    """Write into the manifest what follows from the parts as they are."""
    rows = {name: split.part(name) for name in split.names}
    leaked = {sample for leak in found if leak.parts[1] == "test" for sample in leak.ids}
    counts = _counts(frame, rows, names)
    split.manifest.update(
        counts=counts,
        hash={name: _digest(frame["id"].gather(part)) for name, part in rows.items()},
        leaks=[leak.to_dict() for leak in found],
        leaked_test_ids=sorted(leaked),
        warnings=[*_missing_classes(counts), *warnings],
    )


def _balanced_subset(
    frame: pl.DataFrame, rows: np.ndarray, per_class: int, names: dict[int, str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """`per_class` of each class's `rows` that aren't in the frame's test part, and that test part."""
    is_test = (frame["split"] == "test").fill_null(False).to_numpy()
    order = frame["id"].arg_sort().to_numpy()  # so that the order of the rows doesn't matter
    pool = order[np.isin(order, rows[~is_test[rows]])]
    labels = frame["label"].to_numpy()[pool]
    few = [
        f"{name} has {n}"
        for label, name in sorted(names.items())
        if (n := (labels == label).sum()) < per_class
    ]
    if few:
        raise DataError(
            f"expected at least data.per_class={per_class} images of each class outside of the test part; found that "
            f"{', '.join(few)}. Use a smaller number."
        )
    rng = np.random.default_rng((seed, _SUBSET))
    drawn = [rng.choice(pool[labels == label], per_class, replace=False) for label in sorted(names)]
    return np.sort(np.concatenate(drawn)), rows[is_test[rows]]


def _with_extra(frame: pl.DataFrame, split: Split, extra: np.ndarray) -> tuple[Split, int]:
    """The split with `extra` in its training part, and how many of them were left out."""
    judged = np.concatenate([split.part(name) for name in split.names if name != "train"])
    kept = extra
    for column in ("digest", "cluster"):
        if column in frame.columns:
            twins = frame[column].gather(kept).is_in(frame[column].gather(judged).implode())
            kept = kept[~twins.fill_null(False).to_numpy()]
    return replace(split, train=np.sort(np.concatenate([split.train, kept]))), len(extra) - len(kept)


def _deal(
    frame: pl.DataFrame,
    names: dict[int, str],
    fold: int | None,
    folds: int,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    official: bool,
) -> Split:
    """The parts of a frame without extra samples, and how they came about."""
    order = frame["id"].arg_sort().to_numpy()
    table = frame[order]
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

    given_name = ("official" if official else "given") if given and "test" not in made else "holdout"
    warnings = []
    if made and dealer.largest > _LARGE * table.height:
        warnings.append(
            f"{dealer.largest} of {table.height} samples belong together: persons and identical images chain them. "
            "One image under many persons (a blank one?) does that."
        )
    rows = {name: np.sort(order[part]).astype(np.int64) for name, part in parts.items()}
    return Split(
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
            "warnings": warnings,
        },
    )


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
        for first, second in combinations(split.names, 2):
            if first == "test":
                continue  # two parts that are only scored
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
        if OFFICIAL_TEST in leak.parts:
            continue
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
