"""What is known of a study's rows: the kept runs, what they came to, and what each gains over another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from emotion.errors import DataError, EmotionError
from emotion.evaluation import ensemble, metrics, predictions
from emotion.evaluation.intervals import scarce
from emotion.evaluation.paired import between
from emotion.evaluation.predictions import Predictions
from emotion.evaluation.published import Beside, Gap, Measured, beside, measure
from emotion.reporting import numbers
from emotion.runs import RunFolder, TableName
from emotion.studies.study import PROFILES, Profile, Row, Study, network_of
from emotion.studies.tasks import Results, changed, runs_needed

NOT_YET = "not measured yet"
STEP_METRICS = ("accuracy", "balanced_accuracy", "f1_macro")
_OTHER_IMAGES = ("val_fraction", "test_fraction")
_SAME_IMAGES = ("data.batch_size",)


@dataclass(frozen=True)
class Outcome:
    """What is known of a row.

    Attributes:
        profile: the one that its runs were made by; None where there are none.
        wanted: the number of runs that the profile asks for.
        changed: what that profile does otherwise than the full one, key → (here, in full).
        tables: of the part that is held against the published number: a run each, or one of an ensemble.
        why: why nothing is measured; empty where something is.
    """

    row: Row
    profile: Profile | None = None
    wanted: int = 0
    changed: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    runs: tuple[RunFolder, ...] = ()
    tables: tuple[Predictions, ...] = ()
    ours: Measured | None = None
    difference: Beside | None = None
    why: str = ""

    @property
    def title(self) -> str:
        flaw = {"leaky": " (leaky)", "as_published": " (as published)", None: ""}[self.row.flaw]
        return f"{self.row.title}{flaw}"

    @property
    def verdict(self) -> str:
        if self.row.not_run:
            return self.row.not_run
        if self.ours is None:
            return self.why or NOT_YET
        if self.profile == "smoke":
            return "smoke"
        if self.row.differs:
            return f"not compared: {self.row.differs}"
        if self.row.published.accuracy is not None and self.other_images:
            return "not compared: the profile takes other images"
        if self.difference is None:
            return "no number published"
        return f"{self.difference.verdict}{', shortened' if self.changed else ''}"

    @property
    def made_by(self) -> str:
        """The profile, with what it does otherwise than the full one: epochs above all."""
        if self.profile is None:
            return numbers.MISSING
        if self.profile == "smoke":
            return "smoke: its scores mean nothing"
        said = [
            f"{key.removeprefix('trainer.')} {here or 'default'} instead of {full or 'default'}"
            for key, (here, full) in self.changed.items()
        ]
        return f"{self.profile}{': ' if said else ''}{', '.join(said)}"

    @property
    def other_images(self) -> bool:
        """Whether the profile trains or scores on other images than the full one."""
        return any(
            key in _OTHER_IMAGES or (key.startswith("data.") and key not in _SAME_IMAGES)
            for key in self.changed
        )

    @property
    def scored(self) -> tuple[Predictions, ...]:
        """Every image once: the first run's table, with folds the first of each fold."""
        if self.ours is None or not self.ours.folded:
            return self.tables[:1]
        by_fold = {table.frame["fold"][0]: table for table in reversed(self.tables)}
        return tuple(by_fold.values())

    @property
    def images(self) -> int:
        """How many images are scored."""
        return sum(map(len, self.scored))

    @property
    def twins(self) -> int:
        """Images of the test part that share their pixels, a person or a source with what the runs learnt from."""
        if self.row.published.part != "test" or not self.runs:
            return 0
        splits = self.runs[0].splits
        return len(splits.get("leaked_test_ids") or ()) or int(splits.get("leaked_test_count", 0))

    @property
    def without_twins(self) -> float | None:
        """Mean accuracy without them; None where there are none, nothing else, or where which ones isn't kept."""
        leaked = self.runs[0].splits.get("leaked_test_ids") or () if self.twins else ()
        if not leaked:
            return None
        kept = [table.frame.filter(~pl.col("id").is_in(leaked)) for table in self.tables]
        if not all(rows.height for rows in kept):
            return None
        left = [Predictions(rows, t.classes, t.meta) for rows, t in zip(kept, self.tables, strict=True)]
        return float(np.mean([(table.predicted == table.labels).mean() for table in left]))

    @property
    def hardware(self) -> str:
        """What the runs were made on: device, threads, precision."""
        found = {_hardware(run.environment) for run in self.runs}
        return "; ".join(sorted(found)) or numbers.MISSING

    def mean(self, name: str) -> float | None:
        """A metric's mean over the runs."""
        return float(np.mean([metrics.value(t, name) for t in self.tables])) if self.tables else None

    @property
    def epochs(self) -> float | None:
        """The epochs of a run on average, of the runs that were trained."""
        known = [run.metrics.get("cost", {}).get("epochs") for run in self.runs]
        values = [float(value) for value in known if value is not None]
        return sum(values) / len(values) if values else None

    def cost(self, name: str) -> float | None:
        """What a run cost on average; an ensemble costs all of its runs."""
        known = [run.metrics.get("cost", {}).get(name) for run in self.runs]
        values = [float(value) for value in known if value is not None]
        if not values:
            return None
        return sum(values) if self.row.ensemble else sum(values) / len(values)


@dataclass(frozen=True)
class StudyTable:
    """All rows of a study as far as they are known.

    Attributes:
        outcomes: of each row, the best that is known.
        by_profile: row → profile → outcome, of all that is known.
    """

    study: Study
    outcomes: tuple[Outcome, ...]
    by_profile: Mapping[str, Mapping[Profile, Outcome]]


def gather(
    study: Study,
    results: Results,
    profile: Profile | None = None,
    unmeasured: Mapping[str, str] | None = None,
) -> StudyTable:
    """Read what is kept of a study.

    Args:
        profile: whose runs; None: of each row the full ones, else the short ones. Seeds may be missing.
        unmeasured: why rows could not be measured just now, by name.
    """
    profiles = [profile] if profile else [name for name in PROFILES if name != "smoke"]
    by_profile: dict[str, dict[Profile, Outcome]] = {}
    for row in study.rows:
        known = by_profile.setdefault(row.name, {})
        for one in profiles:
            if runs := results.of(study, row, one) or results.some(study, row, one):
                known[one] = _outcome(study, row, one, runs)
    at_hand = {row.data for row in study.rows if by_profile[row.name]}
    drawn = profile is not None and study.profiles[profile].drawn is not None  # needs nothing
    outcomes = [
        next(
            iter(by_profile[row.name].values()),
            Outcome(
                row,
                why=(unmeasured or {}).get(row.name) or (NOT_YET if drawn else _lacking(study, row, at_hand)),
            ),
        )
        for row in study.rows
    ]
    return StudyTable(study, tuple(outcomes), by_profile)


def _outcome(study: Study, row: Row, profile: Profile, runs: Sequence[RunFolder]) -> Outcome:
    part: TableName = row.published.part
    known = Outcome(
        row, profile, runs_needed(study, row, profile), changed(study, row, profile), runs=tuple(runs)
    )
    try:
        read = [predictions.read(run.predictions(part)) for run in runs]
        if row.ensemble:
            named = [table.with_meta(run=f"{run.name}") for table, run in zip(read, runs, strict=True)]
            read = [ensemble.average(named, row.name)]
        ours = measure(read)
    except EmotionError as error:
        return replace(known, why=f"not measured: {error}")
    published = row.published
    difference = None
    compared = profile != "smoke" and not row.differs and not known.other_images
    if compared and published.accuracy is not None and published.n is not None:
        difference = beside(ours, published.accuracy, published.n)
    return replace(known, tables=tuple(read), ours=ours, difference=difference)


def _lacking(study: Study, row: Row, at_hand: set[str | None]) -> str:
    """What a row that isn't measured needs before it can be, with the option that names it; "" where nothing.

    Args:
        at_hand: the data sets that other rows were measured on.
    """
    found = []
    for one in (row, *(study.row(name) for name in row.needs)):
        if one.data is not None and one.data not in at_hand:
            found.append(f"{one.data} (--data-root {one.data}=DIR)")
        typed = [*study.overrides, *one.overrides] if one.overrides is not None else []
        pretrained = [override for override in typed if override.startswith("model.pretrained=")]
        if pretrained and pretrained[-1] == "model.pretrained=true":
            name = network_of(next(override for override in typed[::-1] if override.startswith("model=")))
            found.append(f"published weights of {name} (offline: --weights {name}=FILE)")
    return f"{NOT_YET}: needs {', '.join(dict.fromkeys(found))}" if found else ""


def _hardware(environment: Mapping[str, Any]) -> str:
    """Of a run that was trained: device, threads on a CPU, precision; of a derived one what is known."""
    hardware, threads = environment.get("hardware") or {}, environment.get("threads")
    compiled = "compiled" if environment.get("compiled") else None
    on_cpu = [hardware.get("cpu"), threads and numbers.counted(threads, "thread")]
    device = [hardware["gpu"]] if hardware.get("gpu") else on_cpu
    return ", ".join(filter(None, [*device, environment.get("precision"), compiled]))


@dataclass(frozen=True)
class Step:
    """What a row gains over the one that it is held against, by the same profile, seeds, folds and images.

    Attributes:
        gaps: of each of `STEP_METRICS`.
        scarce: classes of which there are too few independent images for an interval of what all classes share.
    """

    outcome: Outcome
    other: Outcome
    gaps: Mapping[str, Gap]
    scarce: tuple[str, ...]

    @property
    def same_precision(self) -> bool:
        """Whether all that were trained were so in the same one; else some of the gap may be its doing."""
        found = {run.environment.get("precision") for of in (self.outcome, self.other) for run in of.runs}
        return len(found - {None}) <= 1  # a classifier on another run's features has none


def steps_of(found: StudyTable) -> Iterator[Step]:
    """Of each row that is held against others, by the best profile that both are measured by."""
    pairs = (_pair(found, row, other) for row in found.study.rows for other in row.against)
    for outcome, other in filter(None, pairs):
        try:
            gaps = {name: between(outcome.tables, other.tables, name) for name in STEP_METRICS}
        except DataError:  # other images: a leaky protocol, a subset, another part
            continue
        few = dict.fromkeys(name for table in outcome.tables for name in scarce(table))
        yield Step(outcome, other, gaps, tuple(few))


def _pair(found: StudyTable, row: Row, against: str) -> tuple[Outcome, Outcome] | None:
    """A row and one that it is held against, by the best profile that has runs of both, of one seed and fold each."""
    others = found.by_profile[against]
    for profile, outcome in found.by_profile[row.name].items():
        other = others.get(profile)
        if other is None or not outcome.tables or not other.tables:
            continue
        if row.ensemble or other.row.ensemble:  # an average is held against whatever there is
            return outcome, other
        both = set(map(_drawn_by, outcome.runs)) & set(map(_drawn_by, other.runs))
        if both:
            return _only(outcome, both), _only(other, both)
    return None


def _drawn_by(run: RunFolder) -> tuple[int, int | None]:
    """The seed and the fold of a run."""
    return run.config["seed"], run.config["fold"]


def _only(outcome: Outcome, wanted: set[tuple[int, int | None]]) -> Outcome:
    """What is known by the runs of these seeds and folds alone."""
    chosen = [(r, t) for r, t in zip(outcome.runs, outcome.tables, strict=True) if _drawn_by(r) in wanted]
    runs, tables = zip(*chosen, strict=True)
    return replace(outcome, runs=runs, tables=tables)
