"""A study's table: each row as published beside ours, with what may be said of the difference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotion import atomic, counter
from emotion.data import augment as augmentation
from emotion.data.preparation import Preparation
from emotion.errors import RunError
from emotion.evaluation import metrics, predictions
from emotion.evaluation.intervals import FEW
from emotion.registry import entries
from emotion.reporting import data_card, judged, numbers, sections, tables
from emotion.reporting.album import EDGE_PX, Album
from emotion.reporting.evidence import Evidence, Subject
from emotion.reporting.page import (
    Beside,
    Block,
    Folded,
    Matrix,
    Note,
    Page,
    Prose,
    Section,
    Sets,
    Sheet,
    Shot,
)
from emotion.reporting.report import RESAMPLES_MANY, render
from emotion.reporting.tables import Cell, Column, Table
from emotion.studies.outcomes import NOT_YET, Outcome, StudyTable, steps_of

BEGIN, END = "<!-- results -->", "<!-- /results -->"
METHOD = (
    "Difference: ours minus published, in points, with its 95 % interval. The published number varies by p(1 − p)/n, "
    "ours by its images (by person where there are several of one) crossed with its runs (folds: corrected as by "
    "Nadeau and Bengio 2003); Student's t with Satterthwaite's degrees of freedom. Reproduced: 0 is inside and the "
    "interval no wider than ± 5 points. Undecided: 0 is inside a wider one. Above, below: 0 is outside. Shortened: "
    "not the run that is to be reproduced; the column profile says in what. Where there is one run, ours varies by its "
    "images alone: another seed may differ by more."
)
_MIB = 2**20 / 1e6
_SCORES = {"balanced_accuracy": "balanced accuracy", "f1_macro": "macro F1", "log_loss": "log loss"}
_CLASS_SCORES = ("precision", "recall", "f1")
_FACES, _DRAWS = 3, 8  # of a policy's grid


def main_table(found: StudyTable) -> Table:
    """One row a row of the study."""
    official = any(run.has("official_test") for outcome in found.outcomes for run in outcome.runs)
    twins = any(outcome.without_twins is not None for outcome in found.outcomes)
    columns = [
        Column("row", number=False),
        Column("published", "Accuracy as published, and the images it was measured on"),
        Column(
            "ours", "Mean ± standard deviation over runs: seeds, or folds; and the images they were scored on"
        ),
        *(
            [Column("without twins", "Ours, without test images that training or validation has a copy of")]
            if twins
            else []
        ),
        Column("runs"),
        Column("difference", "Ours minus published in points, with its 95 % interval"),
        Column("verdict", number=False),
        Column("balanced accuracy", "Ours: mean recall of the classes"),
        Column("macro F1", "Ours"),
        *([Column("official test", "Accuracy on the data set's own test part")] if official else []),
        Column("epochs", "Of ours, the mean over runs; early stopping may end a run before its last"),
        Column("profile", "Of ours, and what it does otherwise than the full one", number=False),
    ]
    rows = tuple(tuple(_cells(outcome, official, twins)) for outcome in found.outcomes)
    return Table(found.study.title, tuple(columns), rows, notes=(METHOD, *_table_notes(found)))


def result_tables(found: StudyTable) -> list[Table]:
    """Scores, what each step brought, and what it cost."""
    others = [score_table(found), steps(found)]
    return [main_table(found), *(table for table in others if table), cost_table(found)]


def _cells(outcome: Outcome, official: bool, twins: bool) -> Iterator[Cell]:
    published, ours, difference = outcome.row.published, outcome.ours, outcome.difference
    yield Cell(outcome.title, outcome.row.name)
    images = f"n = {numbers.count(published.n)}" if published.accuracy is not None else ""
    yield Cell(_as_printed(published.accuracy), published.accuracy, images)
    clean = [_without_twins(outcome)] if twins else []
    if ours is None:
        yield from (Cell(numbers.MISSING), *clean)
        yield Cell("0", 0.0)
    else:
        sd = "" if ours.sd is None else f" ± {100 * ours.sd:.1f}"
        scored = f"n = {numbers.count(outcome.images)}"
        yield from (Cell(f"{100 * ours.value:.1f}{sd}{numbers.SPACE}%", ours.value, scored), *clean)
        of = f" of {outcome.wanted}" if len(outcome.runs) < outcome.wanted else ""
        count = f"average of {len(outcome.runs)}" if outcome.row.ensemble else str(len(outcome.runs))
        folds = f", {ours.runs} folds" if ours.folded else ""
        yield Cell(f"{count}{of}{folds}", float(len(outcome.runs)))
    if difference is None:
        yield Cell(numbers.MISSING)
    else:
        ends = numbers.points_interval(difference.low, difference.high)
        yield Cell(numbers.points(difference.value), difference.value, ends)
    yield Cell(outcome.verdict, outcome.verdict)
    yield Cell(numbers.percent(outcome.mean("balanced_accuracy")), outcome.mean("balanced_accuracy"))
    yield Cell(numbers.decimal(outcome.mean("f1_macro")), outcome.mean("f1_macro"))
    if official:
        yield _official(outcome)
    yield Cell(_epochs(outcome), outcome.epochs)
    yield Cell(outcome.made_by)


def _without_twins(outcome: Outcome) -> Cell:
    value = outcome.without_twins
    return Cell(
        numbers.percent(value), value, "" if value is None else f"{numbers.count(outcome.twins)} fewer"
    )


def _as_printed(share: float | None) -> str:
    """A published share with the digits that it was published with, at least one.

    >>> [_as_printed(share) for share in (0.569, 0.3315, 0.78)]
    ['56.9\u202f%', '33.15\u202f%', '78.0\u202f%']
    """
    if share is None:
        return numbers.MISSING
    _, _, digits = f"{100 * share:.6g}".partition(".")
    return numbers.percent(share, max(1, len(digits)))


def score_table(found: StudyTable) -> Table | None:
    """What the report gives beside accuracy, theirs and ours; None where it gives nothing."""
    rows = [
        (
            Cell(outcome.title, outcome.row.name),
            Cell(_SCORES[name]),
            Cell(numbers.decimal(theirs), theirs),
            Cell(numbers.decimal(outcome.mean(name)), outcome.mean(name)),
        )
        for outcome in found.outcomes
        for name, theirs in outcome.row.published.metrics.items()
    ]
    columns = (Column("row", number=False), Column("score", number=False), Column("theirs"), Column("ours"))
    return Table("Other scores that the report gives", columns, tuple(rows)) if rows else None


def cost_table(found: StudyTable) -> Table:
    """Weights, size and time of each row that has some, theirs and ours."""
    frozen = any(outcome.row.published.trainable for outcome in found.outcomes)
    columns = (
        Column("row", number=False),
        Column("weights, theirs"),
        Column("weights, ours"),
        *([Column("trainable, theirs"), Column("trainable, ours")] if frozen else []),
        Column("file, theirs"),
        Column("file, ours"),
        Column("training, theirs"),
        Column("training, ours", "A run's on average; of an average of runs all of theirs together"),
        Column("hardware", "Of ours", number=False),
    )
    rows = []
    for outcome in found.outcomes:
        published, mib, seconds = outcome.row.published, outcome.cost("file_mib"), outcome.cost("train_s")
        theirs_s = None if published.train_min is None else 60 * published.train_min
        if outcome.runs or published.parameters or published.file_mb or theirs_s:
            cells = (
                Cell(numbers.count(published.parameters), published.parameters),
                Cell(numbers.count(outcome.cost("parameters")), outcome.cost("parameters")),
                *(
                    [
                        Cell(numbers.count(published.trainable), published.trainable),
                        Cell(numbers.count(outcome.cost("trainable")), outcome.cost("trainable")),
                    ]
                    if frozen
                    else []
                ),
                Cell(_megabytes(published.file_mb), published.file_mb),
                Cell(_megabytes(None if mib is None else mib * _MIB), mib),
                Cell(numbers.duration(theirs_s), theirs_s),
                Cell(numbers.duration(seconds), seconds),
                Cell(outcome.hardware),
            )
            rows.append((Cell(outcome.title, outcome.row.name), *cells))
    note = (
        "A run's time is of the threads that its hardware names: on one it takes up to twice as long as on the two "
        "cores that profiles are meant for."
    )
    return Table("Size and time", columns, tuple(rows), notes=(note,))


def _epochs(outcome: Outcome) -> str:
    value = outcome.epochs
    return numbers.MISSING if value is None else f"{value:.1f}".removesuffix(".0")


def _official(outcome: Outcome) -> Cell:
    found = [
        predictions.read(run.predictions("official_test")) for run in outcome.runs if run.has("official_test")
    ]
    if not found or outcome.row.ensemble:
        return Cell(numbers.MISSING)
    value = float(np.mean([(table.predicted == table.labels).mean() for table in found]))
    return Cell(numbers.percent(value), value)


def _official_twins(outcome: Outcome) -> int:
    """Images of the official test part that have a twin in another part, at most: one may have several."""
    leaks = [leak for run in outcome.runs[:1] for leak in run.splits.get("leaks", ())]
    return sum(int(leak["count"]) for leak in leaks if "official_test" in leak["parts"])


def _megabytes(value: float | None) -> str:
    return numbers.MISSING if value is None else f"{value:.1f} MB"


def _table_notes(found: StudyTable) -> Iterator[str]:
    yield from found.study.notes
    for outcome in found.outcomes:
        for note in outcome.row.notes:
            yield f"{outcome.title}: {note}"
    selected = [
        outcome.title
        for outcome in found.outcomes
        if any(t.meta.selected_on_this_part for t in outcome.tables)
    ]
    if selected:
        yield (
            "Selected on these images: each run's best epoch was chosen on the very images that it is scored on, so "
            f"that the scores are too good: {'; '.join(selected)}."
        )
    if any(outcome.without_twins is not None for outcome in found.outcomes):
        yield (
            "Without twins: without the test images, counted beside, that share their pixels, a person or a source "
            "with training or validation images, as the data were published."
        )
    twins = max((_official_twins(outcome) for outcome in found.outcomes), default=0)
    if twins:
        yield (
            f"Official test: up to {twins} of its images share their pixels, a person or a source with training or "
            "validation images, as the data were published."
        )
    dirty = [
        outcome.title for outcome in found.outcomes if any(run.status.get("dirty") for run in outcome.runs)
    ]
    if dirty:
        yield f"Made by code with changes that were not committed: {'; '.join(dirty)}."
    flawed = [outcome.title for outcome in found.outcomes if outcome.row.flaw]
    if flawed:
        yield f"These rows repeat a mistake of the report and are there for comparison only: {'; '.join(flawed)}."


def steps(found: StudyTable) -> Table | None:
    """What each row gains over the one that it is to be better than, by one profile; None where there is no pair."""
    rows: list[tuple[Cell, ...]] = []
    few: dict[str, None] = {}
    mixed = False
    for step in steps_of(found):
        outcome, other = step.outcome, step.other
        few |= dict.fromkeys(step.scarce)
        mixed |= not step.same_precision
        cells = []
        for name, gap in step.gaps.items():
            share, star = name != "f1_macro", "*" if step.scarce and name != "accuracy" else ""
            ends = numbers.gap_interval(gap.low, gap.high, share)
            cells.append(Cell(numbers.gap(gap.value, share), gap.value, f"{ends}{star}"))
        theirs = None
        if not outcome.row.differs and not other.row.differs:
            here, there = outcome.row.published.accuracy, other.row.published.accuracy
            theirs = None if here is None or there is None else here - there
        made = f"{outcome.profile}, {_runs(outcome)}{'' if step.same_precision else '†'}"
        named = (Cell(outcome.title), Cell(other.title), Cell(made))
        rows.append((*named, Cell(numbers.points(theirs), theirs), *cells))
    if not rows:
        return None
    columns = (
        Column("row", number=False),
        Column("against", number=False),
        Column("profile", "Of both, and the row's runs", number=False),
        Column("accuracy, theirs", "Difference of the two published numbers, in points"),
        Column("accuracy, ours"),
        Column("balanced accuracy, ours"),
        Column("macro F1, ours"),
    )
    note = (
        "Differences on the same images (of folds: fold by fold), shares in points, with 95 % intervals that are not "
        "corrected for being many. Where an interval contains 0, the two can't be told apart. Between two single runs "
        "the luck of training isn't in it."
    )
    notes = [note]
    if few:
        notes.append(
            f"*: not reliable: of {', '.join(few)} there are under {FEW} independent images or groups, so that a "
            "resample may have none."
        )
    if mixed:
        notes.append("†: trained in different precisions, so that some of the difference may be theirs.")
    return Table("Steps: the row minus the one it is held against", columns, tuple(rows), notes=tuple(notes))


def _runs(outcome: Outcome) -> str:
    return (
        f"average of {len(outcome.runs)}"
        if outcome.row.ensemble
        else numbers.counted(len(outcome.runs), "run")
    )


def class_tables(found: StudyTable) -> Iterator[Table]:
    """For each row whose report gives figures of the classes: theirs beside ours, and their averages."""
    for outcome in found.outcomes:
        published = outcome.row.published
        if not published.classes:
            continue
        ours, images = _class_scores(outcome), _class_images(outcome)
        rows = []
        for name, scores in (*published.classes.items(), *published.averages.items()):
            mine = images.get(name)
            cells = [
                Cell(name),
                Cell(numbers.count(scores.support), scores.support),
                Cell(numbers.count(mine), mine),
            ]
            for metric in _CLASS_SCORES:
                given, mean = getattr(scores, metric), ours.get((name, metric))
                cells += [Cell(numbers.decimal(given), given), Cell(numbers.decimal(mean), mean)]
            rows.append(tuple(cells))
        heads = [f"{metric}, {who}" for metric in ("precision", "recall", "F1") for who in ("theirs", "ours")]
        counts = (Column("images, theirs"), Column("images, ours"))
        columns = (Column("class", number=False), *counts, *map(Column, heads))
        yield Table(f"Classes: {outcome.title}", columns, tuple(rows))


def _class_images(outcome: Outcome) -> dict[str, int]:
    """Images of each class that are scored."""
    if not outcome.tables:
        return {}
    classes = outcome.tables[0].classes
    counts = sum(np.bincount(table.labels, minlength=len(classes)) for table in outcome.scored)
    return dict(zip(classes, np.asarray(counts).tolist(), strict=True))


def _class_scores(outcome: Outcome) -> dict[tuple[str, str], float]:
    """(class, or macro, or weighted by the classes' images; precision, recall or f1) → mean over the runs."""
    found: dict[tuple[str, str], list[float]] = {}
    for table in outcome.tables:
        values = metrics.compute(table.labels, table.probabilities, table.classes)
        images = np.bincount(table.labels, minlength=len(table.classes))
        for metric in _CLASS_SCORES:
            each = np.array([values[f"{metric}/{name}"] for name in table.classes])
            here = dict(zip(table.classes, each, strict=True))
            here |= {"macro": each.mean(), "weighted": each @ images / images.sum()}
            for name, value in here.items():
                found.setdefault((name, metric), []).append(float(value))
    return {key: float(np.mean(values)) for key, values in found.items()}


def findings(found: StudyTable) -> list[tuple[str, list[str]]]:
    """What reproduced, what didn't, what helped, what isn't known, as titles with their lines."""
    by_verdict: dict[str, list[str]] = {name: [] for name in ("reproduced", "above", "below", "undecided")}
    shortened: list[str] = []
    other: list[str] = []
    missing: list[str] = []
    for outcome in found.outcomes:
        if outcome.difference is not None:
            assert outcome.ours is not None
            ends = numbers.points_interval(outcome.difference.low, outcome.difference.high)
            said = (
                f"{outcome.title}: {numbers.percent(outcome.ours.value)}, published "
                f"{_as_printed(outcome.row.published.accuracy)}, difference {ends} points"
            )
            if outcome.changed:
                shortened.append(f"{said} ({outcome.made_by}{_as_short(found, outcome)})")
            else:
                by_verdict[outcome.difference.verdict].append(said)
        elif outcome.ours is not None:
            other.append(f"{outcome.title}: {numbers.percent(outcome.ours.value)}; {outcome.verdict}")
        elif not outcome.row.not_run:
            why = outcome.why.removeprefix(NOT_YET)
            missing.append(f"{outcome.title}{why if not why or why.startswith(':') else f': {why}'}")
    titles = {
        "reproduced": "Reproduced",
        "above": "Above the report",
        "below": "Below the report",
        "undecided": "Undecided: the interval is too wide",
    }
    return [
        *((titles[verdict], lines) for verdict, lines in by_verdict.items()),
        ("Shortened, so no verdict on the report", shortened),
        ("Measured, not compared", other),
        *_gains(found),
        (NOT_YET.capitalize(), missing),
    ]


def _as_short(found: StudyTable, outcome: Outcome) -> str:
    """What the row that a shortened one is a variant of comes to when it is shortened alike."""
    row = outcome.row
    profile = outcome.profile
    base = found.by_profile.get(row.like or "", {}).get(profile) if profile else None
    if base is None or base.ours is None or base.changed != outcome.changed:
        return ""
    return f"; {base.title} likewise: {numbers.percent(base.ours.value)}"


def _gains(found: StudyTable) -> Iterator[tuple[str, list[str]]]:
    """The rows whose macro F1 differs from that of the row they are held against, by an interval without 0."""
    told: dict[tuple[bool, bool], list[str]] = {}
    for step in steps_of(found):
        gap = step.gaps["f1_macro"]
        if gap.low <= 0 <= gap.high:
            continue
        ends = numbers.gap_interval(gap.low, gap.high, share=False)
        few = f"; {', '.join(step.scarce)}: few images" if step.scarce else ""
        several = len(step.outcome.tables) > 1  # an average of several runs is one
        told.setdefault((gap.low > 0, several), []).append(
            f"{step.outcome.title} against {step.other.title}: {numbers.gap(gap.value, share=False)}, {ends} "
            f"({_runs(step.outcome)}{few})"
        )
    for higher, several in ((True, True), (False, True), (True, False), (False, False)):
        title = f"{'Higher' if higher else 'Lower'} macro F1 than the row it is held against"
        yield (
            title + ("" if several else ", by one run of each: another seed may differ by more"),
            told.get((higher, several), []),
        )


def markdown(found: StudyTable) -> str:
    """The tables, the findings and what the report can't support."""
    parts = [tables.markdown(table) for table in result_tables(found)]
    for title, lines in findings(found):
        if lines:
            parts += [f"**{title}**\n", *(f"* {line}" for line in lines), ""]
    parts += ["**What the report's own numbers can't support**\n"]
    parts += [*(f"* {line}" for line in found.study.cannot_support), ""]
    parts += [tables.markdown(table) for table in class_tables(found)]
    return "\n".join(parts).replace(numbers.SPACE, " ").rstrip() + "\n"


def readme(found: StudyTable) -> str:
    """What the study is about, its profiles, and everything of `markdown`."""
    study = found.study
    profiles = (f"* `{name}`: {setting.about}." for name, setting in study.profiles.items())
    return "\n".join([f"{study.report}. {study.about}", "", *profiles, "", markdown(found)])


def latex(found: StudyTable) -> str:
    return "\n".join(tables.latex(table) for table in [*result_tables(found), *class_tables(found)])


def page(found: StudyTable) -> Page:
    """The study as one HTML page, with the figures of each measured row."""
    told: list[Block] = []
    for title, lines in findings(found):
        told += [Prose(f"{title}: {'; '.join(lines)}.")] if lines else []
    limits = tuple(Note(line) for line in found.study.cannot_support)
    made = [
        Section("table", "Rows", found.study.about, (*map(Sheet, result_tables(found)), *told)),
        Section("limits", "What the report's own numbers can't support", "", limits),
    ]
    classes = tuple(Sheet(table) for table in class_tables(found))
    if classes:
        made.append(Section("classes", "Classes, theirs and ours", "", classes))
    album = Album()
    details = tuple(
        Folded(outcome.title, tuple(_details(outcome, album)))
        for outcome in found.outcomes
        if _shown(outcome)
    )
    if details:
        lead = "Confusion, classes, ROC, learning curves and data of each measured row; of several runs the first."
        made.append(Section("rows", "Row by row", lead, details))
    measured = sum(outcome.ours is not None for outcome in found.outcomes)
    finding = f"{measured} of {len(found.outcomes)} rows are measured."
    return Page(found.study.title, "Study", (found.study.report,), finding, tuple(made), album.faces)


def _shown(outcome: Outcome) -> bool:
    return bool(outcome.tables) or outcome.row.published.confusion is not None


def _details(outcome: Outcome, album: Album) -> Iterator[Block]:
    theirs = outcome.row.published.confusion
    name = f"confusion-{outcome.row.name}"
    matrices = []
    if theirs is not None:
        counts = np.zeros((len(theirs.rows), len(theirs.rows)), np.int64)
        counts[:, [theirs.rows.index(column) for column in theirs.columns]] = theirs.counts
        caption = f"Published, {counts.sum():,} images."
        matrices.append(Matrix(f"{name}-published", caption, tuple(theirs.rows), counts))
    if not outcome.tables:
        yield Beside(tuple(matrices))
        return
    shown = Evidence(outcome.tables[0], RESAMPLES_MANY)
    order = list(theirs.rows if theirs and {*theirs.rows} == {*shown.table.classes} else shown.table.classes)
    places = [shown.table.classes.index(one) for one in order]
    ours = shown.confusion[np.ix_(places, places)]
    matrices.append(Matrix(name, f"Ours, {len(shown.table):,} images.", tuple(order), ours))
    worst = Sheet(judged.worst_confusions(shown))
    if theirs is None:
        yield Beside((*matrices, worst))
    else:
        yield Beside(tuple(matrices))
        yield worst
    subject = Subject(outcome.runs[0], RESAMPLES_MANY)
    yield from judged.classes(shown, data_card.natural_counts(subject, shown.table.classes)).blocks
    yield from judged.roc(shown).blocks
    if outcome.row.ensemble:
        return
    if subject.run.file("metrics.csv").is_file():
        yield from sections.learning(subject).blocks
    yield from data_card.data(subject, scored=False).blocks
    balanced = data_card.sampling(subject)
    yield from [balanced] if balanced is not None else []
    yield from _augmented(subject, album)


def _augmented(subject: Subject, album: Album) -> Iterator[Sets]:
    """Drawn faces as the row's policy changes them: kept runs have no pictures of their data.

    Those may not be passed on.
    """
    from emotion.data.drawn import MIN_SIZE_PX, DrawnFaces

    section = subject.config.get("augment") or {}
    policy = augmentation.build(entries("augment")[section["name"]].schema.model_validate(section))
    if policy is None:
        return
    data = subject.splits["data"]
    drawn = DrawnFaces(
        count=_FACES, persons=_FACES, size_px=int(np.clip(data["size_px"], MIN_SIZE_PX, EDGE_PX))
    )
    prepare = Preparation(drawn.size_px, data["channels"])
    sets = []
    for face in range(_FACES):
        image = prepare(drawn.read(face))
        streams = counter.mix(0, np.arange(_DRAWS), face, 0)
        changed_images = policy(np.stack([image] * _DRAWS), streams)
        shots = [Shot(album.add(image), f"face {face}", "as it is")]
        shots += [
            Shot(album.add(one), f"face {face}, draw {n}", "") for n, one in enumerate(changed_images, 1)
        ]
        sets.append(("", tuple(shots)))
    words = ", ".join(f"{key} {value}" for key, value in section.items() if key not in ("name", "backend"))
    lead = f"Drawn faces under the policy {section['name']} ({words}); a run's own report shows its training images."
    yield Sets("Augmentation", tuple(sets), lead)


def write(found: StudyTable, folder: Path) -> str:
    """Write table.md, table.tex and table.html into `folder`; returns the table as text.

    Raises:
        RunError: the folder can't be written.
    """
    try:
        atomic.write_text(folder / "table.md", markdown(found))
        atomic.write_text(folder / "table.tex", latex(found))
        atomic.write_text(folder / "table.html", render(page(found)))
    except OSError as error:
        raise RunError(f"expected to write the tables into {folder}: {error.strerror}.") from error
    return "\n".join(tables.text(table) for table in result_tables(found))
