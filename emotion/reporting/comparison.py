"""The report of several runs: which is better, whether that is more than chance, where they differ, what they cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from emotion.errors import EmotionError
from emotion.reporting import data_card, judged, numbers, people, sections, svg
from emotion.reporting.album import Album, ImageLookup
from emotion.reporting.contenders import Contender, contenders, differing
from emotion.reporting.estimates import headline_cells, rate, said, stars
from emotion.reporting.evidence import HEADLINE, METRIC_HINTS, METRIC_NAMES, PERSON, Evidence, Subject
from emotion.reporting.page import (
    Beside,
    Block,
    Chart,
    Difference,
    Face,
    Folded,
    Gallery,
    Key,
    Listing,
    Note,
    Page,
    Section,
    Sheet,
)
from emotion.reporting.standing import Standing, fold_tests, standing
from emotion.reporting.tables import Cell, Column, Table

COLOURS = ("blue", "vermilion", "green", "purple", "amber", "sky")
FACES_EACH, HARD = 12, 18
DETAILED = 8  # more configurations than this are shown without ROC curves, which are most of a page's weight


def page(
    subjects: Sequence[Subject],
    images: ImageLookup | None,
    *,
    commands: Sequence[str] = (),
    test: bool = False,
) -> Page:
    networks = [subject for subject in subjects if subject.model != PERSON]
    found = ranked(contenders(networks or subjects))
    album = Album()
    place = standing(found)
    made: list[Section | None] = [
        _ranking(found, place, test),
        _people(subjects),
        _differences(place),
        _by_class(found),
        _hard(place, album, images),
        _cost(found),
        _learning(found),
        _folds(found, place, test),
        _configurations(found),
        *_each(found, album, images),
        *_data(networks or subjects),
        _reproduce(subjects, commands),
    ]
    return Page(
        title=_title(found),
        kicker="Comparison of runs",
        byline=(_counted(len(networks), len(subjects) - len(networks)), "ranked by validation accuracy"),
        finding=_finding(found, place),
        sections=tuple(section for section in made if section is not None),
        faces=album.faces,
    )


def _title(found: Sequence[Contender]) -> str:
    datasets = " and ".join(
        dict.fromkeys(subject.data for contender in found for subject in contender.subjects)
    )
    if len(found) == 1:
        folds = f", {len(found[0].subjects)} folds" if found[0].folded else ""
        return f"{found[0].first.model} on {datasets}{folds}"
    return f"{_number_word(len(found))} configurations on {datasets}"


def ranked(found: Sequence[Contender]) -> list[Contender]:
    """By validation accuracy, those without predictions last."""
    return sorted(found, key=lambda contender: -_accuracy(contender.validation))


def _accuracy(evidence: Evidence | None) -> float:
    return evidence.values["accuracy"] if evidence is not None else -1.0


def _finding(found: Sequence[Contender], place: Standing) -> str:
    best = found[0].validation
    if best is None:
        return "None of these runs has left predictions that can be read, so they can’t be compared."
    accuracy = best.intervals["accuracy"]
    images = f"{len(best.table):,} validation images"
    if place.sentence:
        return place.sentence
    if len(found) == 1:
        return (
            f"{found[0].first.model} gives {said(accuracy)} of {images} the label that the data gives them."
        )
    return f"{found[0].name} comes first with {said(accuracy)} of {images}."


def _ranking(found: Sequence[Contender], place: Standing, test: bool) -> Section:
    scored = [contender for contender in found if contender.validation is not None]
    lows = [contender.validation.intervals["accuracy"] for contender in scored if contender.validation]
    domain = (min((i.low for i in lows), default=0.0), max((i.high for i in lows), default=1.0))
    folded = any(contender.folded for contender in found)
    columns = [
        Column("Configuration", number=False),
        Column(METRIC_NAMES["accuracy"], METRIC_HINTS["accuracy"]),
        Column("Group", "Configurations that share a letter can’t be told apart", number=False),
        Column("Interval", "Accuracy with its 95 % interval", number=False, plain=False),
        *(Column(METRIC_NAMES[name], METRIC_HINTS[name]) for name in HEADLINE[1:]),
        Column("Images"),
        *([Column("Folds")] if folded else []),
        *([Column("Test accuracy", "Asked for; not what the table is ordered by")] if test else []),
    ]
    rows = []
    for index, contender in enumerate(found):
        evidence = contender.validation
        cells = [
            Cell(contender.name, contender.name, link=f"run-{index}" if evidence else "", strong=index == 0)
        ]
        if evidence is None:
            cells += [Cell(numbers.MISSING) for _ in range(len(columns) - len(cells))]
        else:
            accuracy = evidence.intervals["accuracy"]
            first, *others = headline_cells(evidence)
            letters = place.letters.get(contender.name, "")
            whisker = svg.whisker(accuracy.value, accuracy.low, accuracy.high, domain)
            cells += [
                first,
                Cell(letters or numbers.MISSING, letters or None),
                Cell("", accuracy.value, picture=whisker),
                *others,
                Cell(numbers.count(len(evidence.table)), float(len(evidence.table))),
            ]
            if folded:
                cells.append(Cell(str(len(contender.scored)) if contender.folded else numbers.MISSING))
            if test:
                cells.append(_test_cell(contender))
        rows.append(tuple(cells))
    table = Table(
        "Scores on validation images, with 95 % intervals; the folds of a configuration are pooled, each image once.",
        tuple(columns),
        tuple(rows),
        sorted_by=(1, "descending"),
        notes=stars(
            [
                interval
                for c in scored
                if c.validation is not None
                for interval in c.validation.headline.values()
            ]
            + [c.tests[0].intervals["accuracy"] for c in scored if test and len(c.tests) == 1]
        ),
    )
    notes: list[Block] = [
        Note(f"{contender.name}: {sections.NO_PREDICTIONS}")
        for contender in found
        if not contender.validation
    ]
    notes += [Note(text) for contender in found for text in contender.problems]
    notes += [Note(text) for text in place.notes]
    if place.pairs is not None:
        notes.append(Folded("The tests behind the letters", (Sheet(place.pairs),)))
    if any(c.validation is not None and c.validation.table.meta.selected_on_this_part for c in found):
        notes.append(
            Note(
                "Each run chose its best epoch on its validation images, so these scores are a little too good, and "
                "so is the best of many. The test part decides, once, for the one that is chosen."
            )
        )
    lead = "Ordered by validation accuracy; configurations that share a letter can’t be told apart."
    return Section("ranking", "Ranking", lead, (Sheet(table), *notes))


def _test_cell(contender: Contender) -> Cell:
    """Test accuracy; for folds the mean of their scores with the lowest and the highest."""
    values = [evidence.values["accuracy"] for evidence in contender.tests]
    if not values:
        return Cell(numbers.MISSING)
    if len(values) == 1:
        found = contender.tests[0].intervals["accuracy"]
        return rate(found)
    mean = float(np.mean(values))
    return Cell(numbers.percent(mean), mean, f"folds {numbers.interval(min(values), max(values))}")


def _people(subjects: Sequence[Subject]) -> Section | None:
    """People who have answered a quiz, beside every network that was tested on its images."""
    tested = [subject for subject in subjects if "test" in subject.parts]
    answers = {_who(s): s.parts["test"].table for s in tested if s.model == PERSON}
    if not answers:
        return None
    asked: set[str] = set().union(*(table.ids for table in answers.values()))
    networks = {s.run.name: s.parts["test"].table for s in tested if s.model != PERSON}
    known = {name: table for name, table in networks.items() if asked <= set(table.ids)}
    blocks: list[Block] = []
    try:
        kappas = people.agreements(answers, known)
        blocks += [Sheet(people.compared(answers, known)), *([Sheet(kappas)] if kappas else [])]
    except EmotionError as error:
        blocks.append(Note(f"They can’t be compared. {error}"))
    blocks += [
        Note(f"{s.run.name} was not tested on the images of the quiz.")
        for s in subjects
        if s.model != PERSON and s.run.name not in known
    ]
    lead = "What people said of test images, beside what networks say of the very same ones."
    return Section("people", "People", lead, tuple(blocks))


def _who(subject: Subject) -> str:
    return str(subject.flat.get("name") or subject.run.name)


def _counted(runs: int, persons: int) -> str:
    """
    >>> _counted(2, 1)
    '2 runs and 1 person'
    """
    parts = [(runs, "run" if runs == 1 else "runs"), (persons, "person" if persons == 1 else "people")]
    return " and ".join(f"{number} {word}" for number, word in parts if number)


def _differences(place: Standing) -> Section | None:
    """The confusion matrices of those that were judged by the same images, subtracted two by two."""
    runs = tuple((c.name, c.validation.confusion) for c in place.alike if c.validation is not None)
    first = place.alike[0].validation if place.alike else None
    if len(runs) < 2 or first is None:
        return None
    block = Difference(
        "Difference of two confusion matrices",
        f"Difference in percentage points of each true class, on {len(first.table):,} validation images.",
        first.table.classes,
        runs,
    )
    lead = "How often each class is taken for each other one, one configuration minus another."
    return Section("differences", "Where they differ", lead, (block,))


def _by_class(found: Sequence[Contender]) -> Section | None:
    scored = [(index, c) for index, c in enumerate(found) if c.validation is not None]
    if not scored:
        return None
    names = list(
        dict.fromkeys(name for _, c in scored if c.validation for name in c.validation.table.classes)
    )
    rows, shown = [], []
    for index, contender in scored:
        evidence = contender.validation
        assert evidence is not None
        cells = [Cell(contender.name, contender.name, link=f"run-{index}")]
        for name in names:
            recall = evidence.intervals.get(f"recall/{name}")
            if recall is None or not evidence.support[evidence.table.classes.index(name)]:
                cells.append(Cell(numbers.MISSING))
            else:
                cells.append(rate(recall, digits=0))
                shown.append(recall)
        rows.append(tuple(cells))
    columns = (Column("Configuration", number=False), *(Column(name) for name in names))
    caption = "Recall of each class on validation images, with 95 % intervals."
    table = Table(caption, columns, tuple(rows), notes=stars(shown))
    return Section("by-class", "By class", "How many images of each class are found.", (Sheet(table),))


def _hard(place: Standing, album: Album, images: ImageLookup | None) -> Section | None:
    """Images that most configurations get wrong: often the label is what is wrong."""
    alike = place.alike
    first = alike[0].validation if alike else None
    if first is None or len(alike) < 2:
        return None
    answers = [c.validation.table for c in alike if c.validation is not None]
    wrong = pl.concat(
        pl.DataFrame({"id": t.ids, "label": t.labels, "answer": t.predicted, "sure": t.confidence})
        for t in answers
    ).filter(pl.col("answer") != pl.col("label"))
    table = (
        wrong.group_by("id")
        .agg(pl.len().alias("times"), pl.col("sure").mean(), pl.col("answer").mode().min())
        .sort(["times", "sure", "id"], descending=[True, True, False])
    )
    everyone = table.filter(pl.col("times") == len(alike)).height
    top = table.head(HARD)
    pictures, problem = judged.look_up(alike[0].first.run, images, album, top["id"].to_list())
    labels = dict(zip(first.table.ids, first.table.labels.tolist(), strict=True))
    own = first.table.probabilities[np.arange(len(first.table)), first.table.labels]
    probability = dict(zip(first.table.ids, own.tolist(), strict=True))
    faces = tuple(
        Face(
            pictures.get(row["id"]),
            row["id"],
            first.table.classes[labels[row["id"]]],
            first.table.classes[row["answer"]],
            float(row["sure"]),
            float(probability[row["id"]]),
            note=f"wrong in {row['times']} of {len(alike)}",
        )
        for row in top.iter_rows(named=True)
    )
    blocks: list[Block] = [Note(problem)] if problem else []
    if faces:
        blocks.append(
            Gallery(
                "Wrong most often, and surest", faces, "The answer given most often, and its mean confidence."
            )
        )
    who = "Both" if len(alike) == 2 else f"All {len(alike)}"
    lead = (
        f"{who} configurations get the same {everyone:,} of {len(first.table):,} images wrong "
        f"({numbers.percent(everyone / len(first.table))}): what more of the same will hardly solve."
    )
    return Section("hard", "Hard images", lead, tuple(blocks))


def _cost(found: Sequence[Contender]) -> Section | None:
    """What each configuration costs, and accuracy against it."""
    kinds = (
        ("parameters", "Parameters", numbers.short),
        ("macs", "Multiply-adds", numbers.short),
        ("train_s", "Training", numbers.duration),
        ("images_per_s", "Images/s", numbers.count),
        ("memory_mib", "Memory, MiB", numbers.count),
        ("file_mib", "Size, MiB", lambda value: numbers.decimal(value, 1)),
    )
    rows = []
    for contender in found:
        values = [contender.cost(name) for name, *_ in kinds]
        rows.append(
            (
                Cell(contender.name, contender.name),
                *(Cell(text(v), v) for v, (_, _, text) in zip(values, kinds, strict=True)),
            )
        )
    if not any(cell.sort is not None for row in rows for cell in row[1:]):
        return None
    columns = (Column("Configuration", number=False), *(Column(title) for _, title, _ in kinds))
    charts = [
        chart
        for name, axis in (
            ("macs", svg.Axis("multiply-adds an image", text="short")),
            ("train_s", svg.Axis("training time", text="duration")),
        )
        if (chart := _cost_chart(found, name, axis)) is not None
    ]
    table = Table("Cost of each configuration, the mean over its folds.", columns, tuple(rows))
    blocks: list[Block] = [Beside(tuple(charts))] if charts else []
    return Section(
        "cost",
        "Cost",
        "Accuracy against what it costs; further left and higher is better.",
        (*blocks, Sheet(table)),
    )


def _cost_chart(found: Sequence[Contender], name: str, axis: svg.Axis) -> Chart | None:
    points, ends = [], []
    for index, contender in enumerate(found):
        value, evidence = contender.cost(name), contender.validation
        if value and evidence is not None:
            accuracy = evidence.intervals["accuracy"]
            points.append((value, accuracy.value, contender.name, _colour(index)))
            ends.append((accuracy.low, accuracy.high))
    if len({point[0] for point in points}) < 2:
        return None
    title = f"Accuracy against {axis.label}"
    picture = svg.scatter_chart(
        points, axis, svg.Axis("accuracy", text="percent"), title=title, intervals=ends
    )
    return Chart(title, picture, legend=_legend(found))


def _learning(found: Sequence[Contender]) -> Section | None:
    """Validation accuracy and loss of every run over the epochs."""
    charts = [
        chart
        for column, title, kind in (
            ("val/accuracy", "Validation accuracy", "percent"),
            ("val/loss", "Validation loss", "number"),
        )
        if (chart := _learning_chart(found, column, title, kind)) is not None
    ]
    return Section("learning", "Learning", "", (Beside(tuple(charts)),)) if charts else None


def _learning_chart(found: Sequence[Contender], column: str, title: str, kind: str) -> Chart | None:
    lines: list[svg.Series] = []
    spoken: list[svg.Series] = []
    for index, contender in reversed(list(enumerate(found))):
        for subject in contender.subjects:
            history = subject.history
            if history is None or not {"epoch", column} <= set(history.columns):
                continue
            name = contender.name + (f", fold {subject.fold}" if contender.folded else "")
            epochs = [float(value) + 1 for value in history["epoch"]]
            line = svg.Series(
                name, epochs, sections.floats(history[column]), _colour(index), thin=index >= len(COLOURS)
            )
            lines.append(line)
            if index < len(COLOURS):
                spoken.insert(0, line)
    if not lines:
        return None
    picture = svg.line_chart(
        lines,
        svg.Axis("epoch", text="integer"),
        svg.Axis("", text=kind),
        title=f"{title} of {len(lines)} runs over the epochs",
        spoken=spoken[: 2 * len(COLOURS)],
    )
    return Chart(title, picture, legend=_legend(found))


def _folds(found: Sequence[Contender], place: Standing, test: bool) -> Section | None:
    folded = [contender for contender in found if contender.folded]
    if not folded:
        return None
    folds = sorted({subject.fold for c in folded for subject in c.subjects if subject.fold is not None})
    blocks: list[Block] = [Sheet(_fold_table(folded, folds, "val", "Validation accuracy of each fold."))]
    if test:
        blocks.append(Sheet(_fold_table(folded, folds, "test", "Test accuracy of each fold.")))
    tests = fold_tests(place.alike)
    if tests is not None:
        blocks.append(Sheet(tests))
    expected = max((int(subject.flat.get("folds") or 0) for c in folded for subject in c.subjects), default=0)
    short = [f"{c.name} ({len(c.scored)} of {expected})" for c in folded if len(c.scored) < expected]
    if short:
        blocks.append(
            Note(f"Folds are missing: {', '.join(short)}. Their pooled scores are over fewer images.")
        )
    lead = (
        "The same configuration trained on different parts of the pool. Folds share training images, so their "
        "spread understates the uncertainty."
    )
    return Section("folds", "Folds", lead, tuple(blocks))


def _fold_table(folded: Sequence[Contender], folds: Sequence[int], part: str, caption: str) -> Table:
    rows = []
    for contender in folded:
        values = {s.fold: s.parts[part].values["accuracy"] for s in contender.subjects if part in s.parts}
        cells = [Cell(numbers.percent(values.get(fold)), values.get(fold)) for fold in folds]
        mean = float(np.mean(list(values.values()))) if values else None
        spread = float(np.std(list(values.values()), ddof=1)) if len(values) > 1 else None
        rows.append(
            (
                Cell(contender.name, contender.name),
                *cells,
                Cell(numbers.percent(mean), mean),
                Cell(numbers.percent(spread), spread),
            )
        )
    columns = (
        Column("Configuration", number=False),
        *(Column(f"Fold {fold}") for fold in folds),
        Column("Mean"),
        Column("Deviation", "Standard deviation over the folds"),
    )
    return Table(caption, columns, tuple(rows))


def _configurations(found: Sequence[Contender]) -> Section | None:
    keys = differing(found)
    if not keys:
        return None
    rows = tuple(
        (Cell(c.name, c.name), *(_setting(c.first.flat.get(key), key in c.first.flat) for key in keys))
        for c in found
    )
    columns = (Column("Configuration", number=False), *(Column(key, number=False) for key in keys))
    table = Table(
        "Settings that are not the same in all; a dash where a configuration has no such key.", columns, rows
    )
    return Section("settings", "Settings", "Everything else is equal.", (Sheet(table),))


def _setting(value: Any, there: bool) -> Cell:
    if not there:
        return Cell(numbers.MISSING)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Cell(
        text, float(value) if isinstance(value, int | float) and not isinstance(value, bool) else text
    )


def _each(found: Sequence[Contender], album: Album, images: ImageLookup | None) -> list[Section]:
    """Confusion, classes, confidence and mistakes of each configuration, folded away."""
    blocks: list[Block] = []
    for index, contender in enumerate(found):
        evidence = contender.validation
        if evidence is None:
            continue
        run = contender.first.run
        parts = [
            judged.confusion(evidence),
            judged.classes(evidence),
            *([judged.roc(evidence)] if len(found) <= DETAILED else []),
            judged.confidence(evidence),
            judged.gallery(evidence, run, album, images, FACES_EACH, pairs=False),
        ]
        inner: list[Block] = [sections.where(contender.subjects)]
        inner += [block for part in parts for block in part.blocks]
        text = f"{contender.name}, {numbers.percent(evidence.values['accuracy'])}"
        blocks.append(Folded(text, tuple(inner), name=f"run-{index}"))
    if not blocks:
        return []
    return [Section("each", "Each of them", "On validation images; open one to see it.", tuple(blocks))]


def _data(subjects: Sequence[Subject]) -> list[Section]:
    """The data of these runs, each set once."""
    sets = {
        (subject.data, str((subject.splits.get("data") or {}).get("fingerprint"))): subject
        for subject in subjects[::-1]
    }
    if len(sets) == 1:
        return [data_card.data(subjects[0], scored=False)]
    return [
        data_card.data(subject, f"data-{index}", scored=False) for index, subject in enumerate(sets.values())
    ]


def _reproduce(subjects: Sequence[Subject], commands: Sequence[str]) -> Section:
    own = [sections.command_of(subject) for subject in subjects]
    lines = list(dict.fromkeys(line for line in (commands or own) if line))
    block: Block = (
        Listing("", "\n".join(lines))
        if lines
        else Note("The commands that made these runs are not recorded.")
    )
    return Section(
        "reproduce",
        "Reproduce",
        "What made these runs; finished ones are skipped if it is typed again.",
        (block,),
    )


def _legend(found: Sequence[Contender]) -> tuple[Key, ...]:
    keys = [Key(c.name, _colour(index), square=True) for index, c in enumerate(found[: len(COLOURS)])]
    rest = len(found) - len(keys)
    return (*keys, *([Key(f"{rest} more", "grey", square=True)] if rest > 0 else []))


def _colour(index: int) -> str:
    return COLOURS[index] if index < len(COLOURS) else "grey"


def _number_word(number: int) -> str:
    words = (
        "No",
        "One",
        "Two",
        "Three",
        "Four",
        "Five",
        "Six",
        "Seven",
        "Eight",
        "Nine",
        "Ten",
        "Eleven",
        "Twelve",
    )
    return words[number] if number < len(words) else str(number)
