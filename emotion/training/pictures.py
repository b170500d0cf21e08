"""The figures of a run folder, and the pictures that its report shows."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from emotion import counter
from emotion.data.datamodule import ExpressionDataModule
from emotion.data.store import Store
from emotion.evaluation import metrics, predictions
from emotion.reporting import figures
from emotion.reporting.mistakes import most_confident
from emotion.runs import RunFolder
from emotion.training.own_data import own_store

GRID_ROWS, GRID_DRAWS, MISTAKES = 5, 9, 24


def write_figures(folder: RunFolder, data: ExpressionDataModule) -> None:
    """Learning curves, confusion matrix, class distribution, reliability, augmented images, confident mistakes."""
    store = data.store
    there = folder.file("figures")
    best = folder.status.get("best") or {}
    figures.learning_curves(folder.history(), there / "learning_curves.png", best.get("epoch"))
    counts = {part: data.class_counts(part).tolist() for part in ("train", "val", "test")}
    figures.class_distribution(counts, store.classes, there / "class_distribution.png")
    if data.augment is not None:
        images, labels = _augmented(data)
        figures.augmentation_grid(images, there / "augmentation_grid.png", labels)
    table = predictions.read(folder.predictions("test" if folder.has("test") else "val"))
    confusion = metrics.confusion_matrix(table.labels, table.predicted, len(table.classes))
    figures.confusion_matrix(confusion, table.classes, there / "confusion_matrix.png")
    figures.reliability(table.labels, table.probabilities, there / "reliability.png")
    wrong = most_confident(table, MISTAKES)
    if len(wrong):
        found = StoredPictures(store)(folder, [table.ids[row] for row in wrong])
        figures.mistakes(
            [found[table.ids[row]] for row in wrong],
            [table.classes[table.labels[row]] for row in wrong],
            [table.classes[table.predicted[row]] for row in wrong],
            table.confidence[wrong].tolist(),
            there / "mistakes.png",
        )


def _augmented(data: ExpressionDataModule) -> tuple[np.ndarray, list[str]]:
    """(R, D, H, W, C): training images of different classes, untouched and then as the first epochs draw them."""
    store, labels = data.store, data.store.labels[data.split.train]
    chosen = [data.split.train[np.flatnonzero(labels == label)[0]] for label in np.unique(labels)[:GRID_ROWS]]
    assert data.augment is not None
    grid = []
    for row in chosen:
        images = np.stack([store.images[row]] * GRID_DRAWS)
        drawn = data.augment(images, counter.mix(data.seed, np.arange(GRID_DRAWS), store.keys[row], 0))
        grid.append(np.concatenate([images[:1], drawn]))
    return np.stack(grid), [store.classes[store.labels[row]] for row in chosen]


class StoredPictures:
    """The stored images by sample id: an `ImageLookup` for every run on this data."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {sample: row for row, sample in enumerate(self._store.frame["id"])}

    def __call__(self, run: RunFolder, ids: Sequence[str]) -> Mapping[str, np.ndarray]:
        known = (sample for sample in ids if sample in self._rows)
        return {sample: _as_picture(np.asarray(self._store.images[self._rows[sample]])) for sample in known}


class PicturesOfRuns:
    """As `StoredPictures`, for runs on any data: each one's store is opened when its pictures are first asked for."""

    def __init__(self) -> None:
        self._known: dict[str, StoredPictures] = {}

    def __call__(self, run: RunFolder, ids: Sequence[str]) -> Mapping[str, np.ndarray]:
        """
        Raises:
            EmotionError: the data is no longer there, or not what the run was trained on.
        """
        fingerprint = run.splits["data"]["fingerprint"]
        if fingerprint not in self._known:
            self._known[fingerprint] = StoredPictures(own_store(run))
        return self._known[fingerprint](run, ids)


def _as_picture(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.shape[-1] == 1 else image
