"""Whether accuracy says much about a data set at all: how far two classes outweigh the others."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SKEWED = 0.9  # from this share of the images on, two classes are said to hold nearly all


def skew_notes(labels: npt.NDArray[np.integer], classes: Sequence[str]) -> list[str]:
    """A sentence where two of three or more classes hold nearly all of the images; else nothing.

    Args:
        labels: (N,) indices into `classes`, N may be 0.
        classes: K names in label order.

    >>> skew_notes(np.repeat([0, 1, 2], [60, 38, 2]), ("neutral", "happiness", "fear"))[0][:50]
    'neutral and happiness hold 98 % of the images: acc'
    """
    if len(classes) < 3 or not len(labels):
        return []
    counts = np.bincount(labels, minlength=len(classes))
    first, second = np.argsort(-counts, kind="stable")[:2]
    share = (counts[first] + counts[second]) / counts.sum()
    if share < SKEWED:
        return []
    return [
        f"{classes[first]} and {classes[second]} hold {100 * share:.0f} % of the images: accuracy says little about "
        "the other classes, balanced accuracy and F1 do."
    ]
