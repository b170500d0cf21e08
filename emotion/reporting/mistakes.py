"""Which images are worth looking at: where a network was sure and wrong, and where it nearly got there."""

from __future__ import annotations

import numpy as np

from emotion.evaluation.predictions import Predictions


def most_confident(table: Predictions, count: int) -> np.ndarray:
    """Rows of the wrong answers, the surest first."""
    wrong = np.flatnonzero(table.predicted != table.labels)
    return wrong[np.argsort(-table.confidence[wrong], kind="stable")][:count]


def near_misses(table: Predictions, count: int) -> np.ndarray:
    """Rows of the wrong answers whose label came second, the closest first."""
    wrong = np.flatnonzero(table.predicted != table.labels)
    if not len(wrong):
        return wrong
    scores = table.probabilities[wrong].copy()
    own = scores[np.arange(len(wrong)), table.labels[wrong]]
    second = np.partition(scores, -2, axis=1)[:, -2]
    close = own >= second
    gaps = (table.confidence[wrong] - own)[close]
    return wrong[close][np.argsort(gaps, kind="stable")][:count]


def by_pair(table: Predictions, pairs: int, count: int) -> list[tuple[int, int, int, np.ndarray]]:
    """The most frequent confusions: (label, answer, how many, rows with the surest first)."""
    size = len(table.classes)
    wrong = np.flatnonzero(table.predicted != table.labels)
    cells = table.labels[wrong] * size + table.predicted[wrong]
    totals = np.bincount(cells, minlength=size * size)
    found = []
    for cell in np.argsort(-totals, kind="stable")[:pairs]:
        if not totals[cell]:
            break
        rows = wrong[cells == cell]
        rows = rows[np.argsort(-table.confidence[rows], kind="stable")][:count]
        found.append((int(cell // size), int(cell % size), int(totals[cell]), rows))
    return found
