"""Which labels are probably wrong: confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021)."""

from dataclasses import dataclass

import numpy as np

from emotion.evaluation.predictions import Predictions


@dataclass(frozen=True)
class LabelErrors:
    """What a network that didn't learn from these images thinks of their labels.

    Attributes:
        thresholds: (K,) mean probability of a class over the images labelled so; infinite where there are none.
        joint: (K, K) int64, the confident joint: images labelled i (rows) that are confidently j.
        rows: of the table, images counted off the diagonal, the least credible label first.
        suggested: the class that each of `rows` is confidently.
        margins: probability of the label minus that of the suggested class, for each of `rows`.
    """

    thresholds: np.ndarray
    joint: np.ndarray
    rows: np.ndarray
    suggested: np.ndarray
    margins: np.ndarray

    @property
    def noise(self) -> float:
        """The estimated share of wrong labels: the joint, scaled to the number of labels of each class (eq. 2)."""
        counted = self.joint.sum(axis=1)
        wrong = np.divide(
            counted - np.diag(self.joint), counted, out=np.zeros(len(counted)), where=counted > 0
        )
        return float((wrong * self._labelled).sum() / max(self._labelled.sum(), 1))

    _labelled: np.ndarray


def find(table: Predictions) -> LabelErrors:
    """The candidates for wrong labels in a table of images that the network was not trained on.

    An image is confidently of class j if p(j) is at least that class's threshold, and the largest of those that are.
    Candidates are ranked by p(label) − p(j) (the paper's normalised margin).
    """
    p, labels, size = table.probabilities, table.labels, len(table.classes)
    labelled = np.bincount(labels, minlength=size)
    sums = np.bincount(labels, p[np.arange(len(p)), labels], minlength=size)
    thresholds = np.divide(sums, labelled, out=np.full(size, np.inf), where=labelled > 0)
    # a mean of equal numbers may come out a rounding error above them
    confident = np.where(p >= thresholds - 1e-12, p, -1.0)
    found = confident.argmax(axis=1)
    counted = confident.max(axis=1) >= 0
    joint = np.bincount(labels[counted] * size + found[counted], minlength=size**2).reshape(size, size)
    rows = np.flatnonzero(counted & (found != labels))
    margins = p[rows, labels[rows]] - p[rows, found[rows]]
    order = np.argsort(margins, kind="stable")
    rows = rows[order]
    return LabelErrors(thresholds, joint.astype(np.int64), rows, found[rows], margins[order], labelled)
