"""A finished run on another data set: by its own preparation, and by the classes that both have."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotion.data.dataset import open_prepared
from emotion.data.preparation import Preparation
from emotion.data.store import Store
from emotion.data.table import SPLITS
from emotion.errors import DataError, RunError
from emotion.evaluation import predictions as tables
from emotion.evaluation.predictions import Predictions
from emotion.labels import ClassMap, shared
from emotion.predictor import Predictor
from emotion.runs import RunFolder
from emotion.schema.data import DataConfig
from emotion.schema.machine import MachineConfig
from emotion.training.assemble import choose_device
from emotion.training.console import Log
from emotion.training.init_from import known_ancestors
from emotion.training.own_data import at_hand
from emotion.training.progress import preparing


@dataclass(frozen=True)
class OtherScore:
    """What a run reaches on another data set.

    Attributes:
        table: of the images whose class both have; probabilities rescaled over the shared classes.
        path: where it was written, in the run's folder.
        left_out: the data's classes that the run doesn't know, with the number of images.
        unused: the run's classes that the data doesn't have.
        seen: how many of the images are known to have the pixels of one that the run, or one that it started from,
            learnt from or was selected by.
        all_known: whether the data of all those runs was there to be compared, prepared alike.
        notes: what whoever reads the scores must know of the data.
    """

    table: Predictions
    path: Path
    left_out: dict[str, int]
    unused: tuple[str, ...]
    seen: int
    all_known: bool
    notes: tuple[str, ...]


def score_other(
    run: RunFolder, data: DataConfig, machine: MachineConfig, part: str | None = None, log: Log | None = None
) -> OtherScore:
    """Score the best weights of a run on another data set.

    The table is written into the run as `predictions/<data>-<part>-<first 8 digits of its fingerprint>.parquet`.

    Images are prepared as the run's were. Of both label spaces the shared classes count: images of another class are
    left out, and the probabilities of the others are rescaled to sum to 1.

    Args:
        part: train, val, test or all; None: test where the data comes with one, else all.

    Raises:
        RunError: the run has no weights, or was trained on this very data.
        DataError: the data can't be read, has no such part, or shares fewer than two classes with the run.
    """
    log = log or Log()
    predictor = Predictor.from_run(run.path)
    store = open_prepared(data, predictor.preparation, machine.cache_dir, preparing(log), log)
    if run.splits.get("data", {}).get("fingerprint") == store.fingerprint:
        raise RunError(
            f"expected data other than what {run.name} was trained on, found the same. Its predictions for the parts "
            "that it was not trained on are in predictions/val.parquet and test.parquet."
        )
    part, rows = _part(store, part)
    ours, theirs = shared(predictor.classes, store.classes)
    labels = theirs.labels(store.labels[rows])
    kept = labels >= 0
    if not kept.any():
        raise DataError(
            f"expected images of {', '.join(ours.classes)} in the {part} part of {store.name}, found none."
        )
    probabilities = predictor.stored_probabilities(store.images, rows[kept], choose_device(machine.devices))
    frame = store.frame[rows[kept]]
    table = tables.from_arrays(
        frame["id"].to_list(),
        labels[kept],
        ours.probabilities(probabilities),
        ours.classes,
        tables.Meta(store.name, "test", run.name),
        groups=frame["group"].to_list(),
    )
    path = run.file("predictions") / f"{store.name}-{part}-{store.fingerprint[:8]}.parquet"
    tables.write(path, table)
    return OtherScore(
        table,
        path,
        _counts(store, rows, theirs),
        tuple(predictor.classes[old] for old in ours.left_out),
        *_seen(run, predictor.preparation, machine, frame["digest"].to_list()),
        tuple(store.notes),
    )


def _part(store: Store, part: str | None) -> tuple[str, np.ndarray]:
    split = store.frame["split"]
    if part is None:
        part = "test" if (split == "test").any() else "all"
    if part == "all":
        return part, np.arange(len(store))
    rows = np.flatnonzero((split == part).fill_null(False).to_numpy())
    if not len(rows):
        there = [name for name in SPLITS if (split == name).any()]
        raise DataError(
            f"expected one of {', '.join([*there, 'all'])} as the part of {store.name}, found {part!r}."
        )
    return part, rows


def _counts(store: Store, rows: np.ndarray, theirs: ClassMap) -> dict[str, int]:
    counts = np.bincount(store.labels[rows], minlength=len(store.classes))
    return {store.classes[old]: int(counts[old]) for old in theirs.left_out if counts[old]}


def _seen(
    run: RunFolder, preparation: Preparation, machine: MachineConfig, digests: list[str]
) -> tuple[int, bool]:
    """How many digests are of images that the run, or one that it started from, learnt from or was selected by.

    Returns:
        Their number, and whether the data of all those runs could be looked at.
    """
    chain, gone = known_ancestors(run)
    all_known = gone is None
    known: set[str] = set()
    for one in chain:
        trained = at_hand(one, machine.cache_dir, prepare=True)
        if trained is None or trained[0].preparation != preparation:
            all_known = False
            continue
        store, split = trained
        known.update(store.frame["digest"].gather(np.concatenate([split.train, split.val])))
    return sum(digest in known for digest in digests), all_known
