"""FER+: from ten people's votes to one label or a distribution, by the rules of the original work.

Barsoum, Zhang, Canton Ferrer, Zhang: Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution, ICMI 2016; the details follow their published code (FERPlus, `ferplus.py`).

Of `multi_target` only the choice of images and labels is theirs. They count each label that is kept as 1 and minimise
−log max_k(t_k · p_k), so that any one of them is right; here the targets are the labels' shares of the votes, for the
cross-entropy that every other rule has.
"""

from typing import Literal

import numpy as np

Rule = Literal["majority", "probability", "cross_entropy", "multi_target"]

COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
CLASSES = COLUMNS[:8]

_ENOUGH, _MOST_LABELS, _EACH = 0.75, 3, 0.3


def distribution(votes: np.ndarray, rule: Rule) -> tuple[np.ndarray | None, str]:
    """What a row of votes teaches: shares (8,) float64 that sum to 1, or None and why the row is dropped.

    Args:
        votes: (10,) int64, in the order of COLUMNS.
    """
    counts = np.where(votes <= 1, 0, votes).astype(np.float64)  # single votes are outliers
    total = counts.sum()
    if total <= 0:
        return None, "no votes"
    if rule == "majority":
        kept = np.where(np.arange(len(counts)) == counts.argmax(), counts, 0.0)
        enough = counts.max() > total / 2
    elif rule == "multi_target":
        kept = np.where(counts >= _EACH * total, counts, 0.0)
        enough = kept.sum() > total / 2
    else:
        kept, labels = _top(counts)
        enough = kept.sum() > total / 2 and labels <= _MOST_LABELS
    if not enough:
        return None, "no agreement"
    if kept.argmax() >= len(CLASSES):
        return None, "unknown or no face"
    shares = kept[: len(CLASSES)]
    return shares / shares.sum(), ""


def _top(counts: np.ndarray) -> tuple[np.ndarray, int]:
    """The labels with most votes until three quarters of all votes or three labels are reached, and how many.

    Equal counts are taken together, which can make more than three. Unknown and no-face end the search, and don't
    count where an emotion came before them.
    """
    total = counts.sum()
    left, kept = counts.copy(), np.zeros_like(counts)
    labels, searching = 0, True
    while kept.sum() < _ENOUGH * total and labels < _MOST_LABELS and searching:
        most = left.max()
        for column in np.flatnonzero(left == most):
            kept[column], left[column] = most, 0.0
            labels += 1
            if column >= len(CLASSES):
                searching = False
                if kept.sum() > most:
                    kept[column] = 0.0
                    labels -= 1
                break
    return kept, labels
