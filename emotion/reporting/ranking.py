"""Runs in the order of a metric, with those marked that can't be told apart: what `emotion compare` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emotion.errors import RunError
from emotion.evaluation.comparison import COMPANIONS, Comparison, compare, is_share
from emotion.evaluation.predictions import Part
from emotion.reporting.contenders import Contender, contenders
from emotion.reporting.data_card import without_leaks
from emotion.reporting.estimates import rate, value
from emotion.reporting.evidence import METRIC_NAMES, PART_NAMES, PERSON, Subject
from emotion.reporting.standing import evidence_of, fold_tests, judged_alike
from emotion.reporting.tables import Cell, Column, Table
from emotion.runs import RunFolder


@dataclass(frozen=True)
class Ranking:
    """What the comparison of some runs says.

    Attributes:
        comparison: of the configurations that were judged by the same images.
        table: one row a configuration, best first.
        folds: the differences over folds, where configurations have them.
        notes: which runs are not in the table and why, and what has to be known about those that are.
    """

    comparison: Comparison
    table: Table
    folds: Table | None
    notes: tuple[str, ...]


def rank(runs: Sequence[RunFolder], metric: str = "accuracy", part: Part = "val") -> Ranking:
    """Rank runs on the images that they were all judged by; the folds of a configuration count as one.

    A run that can't be compared is named in the notes, and the others are compared.

    Raises:
        RunError: fewer than two configurations can be compared.
        DataError: the metric is unknown, or undefined on these images.
    """
    subjects = [Subject(run) for run in runs]
    seen = _as_people_saw(subjects) if part == "test" else []
    found = contenders(subjects)
    alike, apart = judged_alike(found, part)
    problems = [problem for contender in found for problem in contender.problems]
    problems += [problem for subject in subjects for problem in subject.problems]
    explained = " ".join(problems)
    for contender in found:
        missing = [subject for subject in contender.subjects if part not in subject.parts]
        problems += [_without(subject, part) for subject in missing if subject.run.name not in explained]
    notes = [*seen, *dict.fromkeys(problems), *apart]
    if len(alike) < 2:
        raise RunError(
            f"expected two or more configurations with {PART_NAMES[part]} predictions of the same images, found "
            f"{len(alike)} among {len(runs)} run{'' if len(runs) == 1 else 's'}. {' '.join(notes)}".rstrip()
        )
    comparison = compare(
        [evidence_of(contender, part).table for contender in alike],
        names=[contender.name for contender in alike],
        metric=metric,
    )
    best_first = sorted(alike, key=lambda c: comparison.ranking["run"].to_list().index(c.name))
    return Ranking(
        comparison,
        _table(comparison, len(evidence_of(alike[0], part).table), part),
        fold_tests(best_first, metric) if part == "val" else None,
        (*comparison.notes, *notes, *(_without_leaks(alike, metric) if part == "test" else ())),
    )


def _without_leaks(found: Sequence[Contender], metric: str) -> list[str]:
    """The scores without the test images that a run has learnt from, where there are any."""
    clean = {c.name: seen.values[metric] for c in found if (seen := without_leaks(c.first)) is not None}
    if not clean:
        return []
    title = METRIC_NAMES.get(metric, metric)
    scores = ", ".join(f"{name} {value(score, metric)}" for name, score in clean.items())
    return [f"{title} without test images whose pixels, person or source training has too: {scores}."]


def _as_people_saw(subjects: Sequence[Subject]) -> list[str]:
    """Where people are among the runs, leave only the test images that all of them have answered, and say so."""
    tables = [s.parts["test"].table for s in subjects if s.model == PERSON and "test" in s.parts]
    if not tables:
        return []
    shared = set.intersection(*(set(table.ids) for table in tables))
    for subject in subjects:
        if "test" in subject.parts:
            whole = subject.parts["test"]
            kept = whole.without([name for name in whole.table.ids if name not in shared])
            if kept is not None:
                subject.parts["test"] = kept
    return [f"On the {len(shared)} test images that every person has answered."]


def _without(subject: Subject, part: Part) -> str:
    if subject.model == PERSON:
        return f"{subject.run.name} is a person, who has answered test images only: --test compares on those."
    state = "" if subject.finished else f" (it is {subject.status.get('state') or 'half-written'})"
    return f"{subject.run.name} has no {PART_NAMES[part]} predictions{state}: its command completes it."


def _table(comparison: Comparison, images: int, part: Part) -> Table:
    metric = comparison.metric
    title = METRIC_NAMES.get(metric, metric)
    beside = [name for name in COMPANIONS if name != metric]
    rows = tuple(
        (
            Cell(row["run"], row["run"]),
            rate(
                comparison.intervals[row["run"]], digits=1 if is_share(metric) else 3, share=is_share(metric)
            ),
            Cell(row["letters"], row["letters"]),
            *(Cell(value(row[name], name), row[name]) for name in beside),
        )
        for row in comparison.ranking.iter_rows(named=True)
    )
    columns = (
        Column("Configuration", number=False),
        Column(title),
        Column("Group", number=False),
        *(Column(METRIC_NAMES[name]) for name in beside),
    )
    caption = (
        f"Ranked by {title[0].lower()}{title[1:]} on {images:,} {PART_NAMES[part]} images, with 95 % "
        "intervals; those that share a letter can’t be told apart."
    )
    return Table(caption, columns, rows, sorted_by=(1, "descending"), notes=(comparison.sentence,))
