"""What a report knows about a run: everything readable is read once, everything else becomes a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from emotion.errors import DataError, EmotionError
from emotion.evaluation import intervals as uncertainty
from emotion.evaluation import metrics, predictions
from emotion.evaluation.intervals import Interval
from emotion.evaluation.predictions import Predictions
from emotion.kept import without_paths
from emotion.runs import SCORED, RunFolder, TableName

PERSON = "person"  # what stands for a network's name where a person has answered a quiz
PART_NAMES = {"train": "training", "val": "validation", "test": "test", "official_test": "official test"}
HEADLINE = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "log_loss", "ece")
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "Macro F1",
    "auroc_macro": "Macro AUC",
    "log_loss": "Log loss",
    "ece": "Calibration error",
}
METRIC_HINTS = {
    "accuracy": "Share of images whose most probable class is their label",
    "balanced_accuracy": "Mean recall of the classes (UAR): each class counts the same",
    "f1_macro": "Mean F1 of the classes; a class that never occurs counts as 0",
    "auroc_macro": "Mean area under the ROC curves, one class against the rest",
    "log_loss": "Mean negative logarithm of the probability given to the label; lower is better",
    "ece": "Expected calibration error, 15 bins: mean gap between confidence and accuracy; lower is better",
}
_CLASS_METRICS = ("precision", "recall", "f1", "auroc")

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Evidence:
    """A prediction table and what follows from it.

    Attributes:
        resamples: of the bootstrap behind its intervals.
    """

    table: Predictions
    resamples: int = 2000

    @cached_property
    def values(self) -> dict[str, float]:
        return metrics.compute(self.table.labels, self.table.probabilities, self.table.classes)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The headline metrics and those of each class; ends are NaN where there can be no interval."""
        return self.estimated(
            [*HEADLINE, *(f"{name}/{label}" for name in _CLASS_METRICS for label in self.table.classes)]
        )

    @cached_property
    def headline(self) -> dict[str, Interval]:
        """The headline metrics alone, which is quicker."""
        return (
            {name: self.intervals[name] for name in HEADLINE}
            if "intervals" in self.__dict__
            else self.estimated(HEADLINE)
        )

    def trust(self, prior: Sequence[float]) -> dict[str, Interval]:
        """How often an answer of each class is right where the classes occur as often as `prior` says."""
        try:
            return uncertainty.estimate_trust(self.table, prior, resamples=self.resamples)
        except DataError as error:
            found = metrics.trust(self.confusion, prior).tolist()
            return _without_ends(dict(zip(self.table.classes, found, strict=True)), str(error))

    def estimated(self, names: Sequence[str]) -> dict[str, Interval]:
        """These metrics with their intervals; ends are NaN where there can be no interval."""
        try:
            return uncertainty.estimate(self.table, names, resamples=self.resamples)
        except DataError as error:
            return _without_ends({name: self.values[name] for name in names}, str(error))

    @cached_property
    def confusion(self) -> np.ndarray:
        """(K, K) counts, true classes in rows."""
        return metrics.confusion_matrix(self.table.labels, self.table.predicted, len(self.table.classes))

    @property
    def support(self) -> np.ndarray:
        """(K,) images of each class."""
        return self.confusion.sum(axis=1)

    def without(self, ids: Sequence[str]) -> Evidence | None:
        """The same without some images; None if nothing is left."""
        kept = self.table.frame.filter(~pl.col("id").is_in(list(ids)))
        return (
            Evidence(Predictions(kept, self.table.classes, self.table.meta), self.resamples)
            if kept.height
            else None
        )


def _without_ends(values: Mapping[str, float], why: str) -> dict[str, Interval]:
    nan = float("nan")
    return {name: Interval(value, nan, nan, "percentile", False, why) for name, value in values.items()}


@dataclass
class Subject:
    """A run as a report sees it.

    Attributes:
        resamples: of the bootstraps behind its intervals.
        problems: what could not be read, in sentences, in the order in which it was missed.
    """

    run: RunFolder
    resamples: int = 2000
    problems: list[str] = field(default_factory=list)

    @cached_property
    def config(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {}
        found = self._read("its configuration", lambda: self.run.config, nothing)
        return found if isinstance(found, dict) else {}

    @cached_property
    def status(self) -> dict[str, Any]:
        return self._read("its status", lambda: self.run.status, {})

    @cached_property
    def environment(self) -> dict[str, Any]:
        return self._read("its environment", lambda: self.run.environment, {})

    @cached_property
    def splits(self) -> dict[str, Any]:
        return self._read("its split", lambda: self.run.splits, {})

    @cached_property
    def cost(self) -> dict[str, Any]:
        if not self.finished and not self.run.file("metrics.json").is_file():
            return {}  # it comes at the end
        nothing: dict[str, Any] = {}
        return self._read("its cost", lambda: self.run.metrics, nothing).get("cost") or {}

    @cached_property
    def history(self) -> pl.DataFrame | None:
        if not self.trained:
            return None
        return self._read("its learning curves", self.run.history, None)

    @cached_property
    def parts(self) -> dict[str, Evidence]:
        """The parts (val, test, official_test) of which there are readable predictions."""
        found: dict[str, Evidence] = {}
        for part in SCORED:
            table = self._read(f"its {PART_NAMES[part]} predictions", partial(self._table, part), None)
            if table is not None:
                found[part] = Evidence(table, self.resamples)
        return found

    def _table(self, part: TableName) -> Predictions | None:
        return predictions.read(self.run.predictions(part)) if self.run.has(part) else None

    @property
    def shown(self) -> Evidence | None:
        """What a report of this run alone is about: the test part, else the validation part."""
        return self.parts.get("test") or self.parts.get("val")

    @cached_property
    def flat(self) -> dict[str, Any]:
        """The configuration with dotted keys."""
        return dict(flattened(self.config))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """As `flat`, without paths and with defaults for keys younger than the run; as it is, where it is foreign.

        What the network started from is there by its name: a file's, or a run folder's without its fold.
        """
        try:
            found = dict(flattened(without_paths(self.config).plain()))
        except EmotionError:
            found = dict(self.flat)
        for key in ("model.weights", "model.init_from"):
            if self.flat.get(key):
                found[key] = _without_fold(Path(str(self.flat[key])).name)
        return found

    @property
    def finished(self) -> bool:
        return self.status.get("state") == "finished"

    @property
    def trained(self) -> bool:
        """False of an ensemble, a classifier on features and a person: they have no epochs."""
        return self.status.get("epochs") != 0

    @property
    def model(self) -> str:
        return str(self.flat.get("model.name") or self._from_folder(1))

    @property
    def data(self) -> str:
        name = str(self.flat.get("data.name") or self._from_folder(0))
        return f"{name}_leaky" if self.leaky else name

    @property
    def leaky(self) -> bool:
        """Whether its scores come from a published protocol that shows test images, changed, in training."""
        return self.flat.get("data.protocol") == "leaky"

    @property
    def fingerprint(self) -> str | None:
        """Of the data that it was trained on."""
        return (self.splits.get("data") or {}).get("fingerprint")

    @property
    def fold(self) -> int | None:
        return self.flat.get("fold")

    def _from_folder(self, piece: int) -> str:
        pieces = self.run.name.split("-")
        return pieces[piece] if len(pieces) > 3 else self.run.name

    def _read(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except EmotionError as error:
            self.problems.append(f"{self.run.name}: {what} can't be shown. {error}")
        except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
            self.problems.append(f"{self.run.name}: {what} can't be shown; the file is not whole ({error}).")
        except OSError as error:
            self.problems.append(f"{self.run.name}: {what} can't be shown; {error.strerror or error}.")
        return otherwise


def _without_fold(name: str) -> str:
    """The name of a fold's run folder without what differs from fold to fold; any other as it is.

    >>> _without_fold("fer2013-resnet18-f2-0123abcd"), _without_fold("fer2013-resnet18-fx-0123abcd")
    ('fer2013-resnet18', 'fer2013-resnet18-fx-0123abcd')
    """
    return re.sub(r"-f\d+-[0-9a-f]{8}$", "", name)


def flattened(config: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested mappings under dotted keys.

    >>> flattened({"a": {"b": 1}, "c": [2]})
    [('a.b', 1), ('c', [2])]
    """
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found += flattened(value, f"{above}{key}.")
        else:
            found.append((f"{above}{key}", value))
    return found
