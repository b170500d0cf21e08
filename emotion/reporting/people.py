"""People beside networks: their scores on the same images, and how far each agrees with each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emotion.errors import DataError
from emotion.evaluation import agreement, metrics
from emotion.evaluation.predictions import Predictions
from emotion.reporting import numbers
from emotion.reporting.evidence import METRIC_HINTS, METRIC_NAMES
from emotion.reporting.tables import Cell, Column, Table

_SCORES = ("accuracy", "balanced_accuracy", "f1_macro")


def shared_ids(people: Mapping[str, Predictions]) -> list[str]:
    """The images that everybody has answered, sorted.

    Raises:
        DataError: there are none.
    """
    shared = set.intersection(*(set(table.ids) for table in people.values()))
    if not shared:
        raise DataError("expected images that everybody has answered, found none.")
    return sorted(shared)


def compared(people: Mapping[str, Predictions], runs: Mapping[str, Predictions]) -> Table:
    """The scores of people and networks on the images that every person has answered.

    Raises:
        DataError: they share no images, or a network's table lacks some.
    """
    shared = shared_ids(people)
    rows = []
    for name, table in {**people, **runs}.items():
        kept = _kept(name, table, shared)
        found = metrics.compute(kept.labels, kept.probabilities, kept.classes)
        cells = [Cell(numbers.percent(found[score]), found[score]) for score in _SCORES]
        rows.append(
            (found["accuracy"], (Cell(name, name), Cell("person" if name in people else "network"), *cells))
        )
    rows.sort(key=lambda row: -row[0])
    columns = (
        Column("Who", number=False),
        Column("Kind", number=False),
        *(Column(METRIC_NAMES[score], METRIC_HINTS.get(score, "")) for score in _SCORES),
    )
    margin = 0.98 / np.sqrt(len(shared))  # 1.96 standard errors at a half
    return Table(
        f"People and networks on the same {len(shared)} images.",
        columns,
        tuple(row for _, row in rows),
        sorted_by=(2, "descending"),
        notes=(f"With {len(shared)} images, an accuracy is known to about ±{100 * margin:.0f} points.",),
    )


def agreements(people: Mapping[str, Predictions], runs: Mapping[str, Predictions]) -> Table | None:
    """Cohen's kappa of everybody with each person, and Fleiss' of three or more people; None for one alone.

    Raises:
        DataError: as `compared`.
    """
    everybody = {**people, **runs}
    if len(everybody) < 2:
        return None
    shared = shared_ids(people)
    classes = next(iter(people.values())).classes
    answers = {name: _answers(_kept(name, table, shared), classes) for name, table in everybody.items()}
    rows = []
    for name, own in answers.items():
        kappas = [
            None if name == other else agreement.cohen_kappa(own, answers[other], len(classes))
            for other in people
        ]
        rows.append((Cell(name, name), *(Cell(numbers.decimal(kappa, 2), kappa) for kappa in kappas)))
    notes = ["1 is complete agreement, 0 what the frequencies of the answers give by chance."]
    if len(people) > 2:
        kappa = agreement.fleiss_kappa(np.array([answers[name] for name in people]).T, len(classes))
        notes.insert(0, f"Agreement of the {len(people)} people: Fleiss' kappa {numbers.decimal(kappa, 2)}.")
    return Table(
        f"Agreement, as Cohen's kappa, on the same {len(shared)} images.",
        (Column("Who", number=False), *map(Column, people)),
        tuple(rows),
        sortable=False,
        notes=tuple(notes),
    )


def _kept(name: str, table: Predictions, ids: list[str]) -> Predictions:
    frame = table.frame.filter(table.frame["id"].is_in(ids))
    if frame.height < len(ids):
        raise DataError(
            f"expected predictions of {name} for the {len(ids)} images of the quiz, found "
            f"{frame.height}: it was tested on other images. A quiz made from its run folder asks for its own."
        )
    return Predictions(frame.sort("id"), table.classes, table.meta)


def _answers(table: Predictions, classes: tuple[str, ...]) -> list[int]:
    """What was said of each image, in the order of these classes.

    Raises:
        DataError: a class is none of them.
    """
    strange = set(table.classes) - set(classes)
    if strange:
        raise DataError(f"expected classes out of {', '.join(classes)}, found {', '.join(sorted(strange))}.")
    return [classes.index(table.classes[answer]) for answer in table.predicted]
