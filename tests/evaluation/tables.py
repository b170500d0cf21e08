"""Prediction tables made up for the tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion.evaluation.predictions import Meta, Part, Predictions, from_arrays

CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def answers(
    labels: npt.NDArray[Any], rng: np.random.Generator, *, n_classes: int = 7, skill: float = 1.8
) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) of a classifier that knows something; early classes are easier."""
    logits = rng.normal(size=(len(labels), n_classes))
    logits[np.arange(len(labels)), labels] += skill * np.linspace(1.3, 0.7, n_classes)[labels]
    return softmax(1.5 * logits)


def table(
    labels: Sequence[int] | npt.NDArray[Any],
    probabilities: npt.ArrayLike,
    classes: Sequence[str] = CLASSES,
    *,
    run: str = "run",
    part: Part = "test",
    ids: Sequence[str] | None = None,
    **others: Any,
) -> Predictions:
    names = ids if ids is not None else [f"image-{row:05d}" for row in range(len(labels))]
    return from_arrays(names, labels, probabilities, classes, Meta("made up", part, run), **others)


def simulated(count: int, seed: int = 0, skill: float = 1.8, **others: Any) -> Predictions:
    """A table of `count` images whose classes occur unequally often."""
    rng = np.random.default_rng(seed)
    shares = np.linspace(3, 1, len(CLASSES))
    labels = rng.choice(len(CLASSES), size=count, p=shares / shares.sum())
    return table(labels, answers(labels, rng, skill=skill), **others)
