"""Points of the curves that a report draws."""

from __future__ import annotations

import numpy as np


def roc(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """A ROC curve, one point a distinct score.

    Args:
        positive: (N,) bool. scores: (N,) float, larger for positives.

    Returns:
        Shares of the negatives and of the positives at or above each score, from (0, 0) to (1, 1); None where
        there are only positives or only negatives.
    """
    order = np.argsort(-scores, kind="stable")
    hits, falling = positive[order], scores[order]
    if hits.all() or not hits.any():
        return None
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    true = np.cumsum(hits)[last]
    false = last + 1 - true
    return np.append(0, false / false[-1]), np.append(0, true / true[-1])


def precision_recall(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Recall and precision at and above each distinct score, the highest score first; None as in `roc`.

    Args:
        positive: (N,) bool. scores: (N,) float, larger for positives.
    """
    order = np.argsort(-scores, kind="stable")
    hits, falling = positive[order], scores[order]
    if hits.all() or not hits.any():
        return None
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    true = np.cumsum(hits)[last]
    return true / true[-1], true / (last + 1)


def thinned(x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most about `count` points of a curve, evenly along its length; the ends stay."""
    if len(x) <= count:
        return x, y
    along = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    chosen = np.unique(
        np.searchsorted(along, np.linspace(0, along[-1], count), side="left").clip(max=len(x) - 1)
    )
    return x[chosen], y[chosen]
