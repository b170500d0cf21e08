"""The sections that a prediction table alone decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from markupsafe import Markup

from emotion.errors import EmotionError
from emotion.evaluation import calibration
from emotion.evaluation.intervals import Interval
from emotion.evaluation.predictions import Predictions
from emotion.reporting import curves, mistakes, numbers, svg
from emotion.reporting.album import Album, ImageLookup
from emotion.reporting.estimates import rate, sortable, stars, with_interval
from emotion.reporting.evidence import PART_NAMES, Evidence
from emotion.reporting.page import (
    Beside,
    Block,
    Chart,
    Face,
    Folded,
    Gallery,
    Key,
    Matrix,
    Note,
    Prose,
    Section,
    Sheet,
    row_shares,
)
from emotion.reporting.tables import Cell, Column, Table
from emotion.runs import RunFolder

FACES = 18
NEAR = 9
PAIRS, FACES_A_PAIR = 4, 6
ROC_POINTS = 60
WANTED_ERRORS = (0.01, 0.05, 0.10)
PROMISE = 0.95  # how surely a threshold keeps its share of mistakes on new images


def confusion(shown: Evidence) -> Section:
    caption = f"Confusion on the {PART_NAMES[shown.table.meta.part]} part, {len(shown.table):,} images."
    matrix = Matrix("Confusion matrix", caption, shown.table.classes, shown.confusion)
    worst = worst_confusions(shown)
    blocks: tuple[Block, ...] = (matrix, Sheet(worst)) if worst.rows else (matrix,)
    return Section("confusion", "Confusion", "Which expression is taken for which.", (Beside(blocks),))


def worst_confusions(shown: Evidence, count: int = 8) -> Table:
    """The cells off the diagonal that hold the largest shares of their true class."""
    counts, names = shown.confusion, shown.table.classes
    shares = np.nan_to_num(row_shares(counts))
    np.fill_diagonal(shares, 0)
    rows = []
    for cell in np.argsort(-shares, axis=None, kind="stable")[:count]:
        label, answer = divmod(int(cell), len(names))
        share, number = float(shares[label, answer]), int(counts[label, answer])
        if share:
            rows.append(
                (
                    Cell(f"{names[label]} → {names[answer]}"),
                    Cell("", share, picture=svg.share_bar(share, colour="vermilion")),
                    Cell(numbers.percent(share, 0), share),
                    Cell(numbers.count(number), float(number)),
                )
            )
    columns = (
        Column("Label → answer", number=False),
        Column("Share", number=False, plain=False),
        Column("Of the class"),
        Column("Images"),
    )
    return Table("The largest confusions.", columns, tuple(rows), sortable=False)


def classes(shown: Evidence, shares: Sequence[float] | None = None) -> Section:
    """How well each class is found, and how far an answer can be relied on.

    Args:
        shares: (K,) how often each class occurs in nature, or counts of a natural sample; adds the trust in an answer.
    """
    table = class_table(shown, shares)
    return Section(
        "classes",
        "Classes",
        "Recall: how many of a class were found. Precision: how often the answer is right when it is given.",
        (Sheet(table), *(Note(text) for text in _absent(shown))),
    )


def class_table(shown: Evidence, shares: Sequence[float] | None = None) -> Table:
    """One row a class: images, recall, precision, F1, AUC, trust with intervals, and the most frequent confusion."""
    trust = shown.trust(shares) if shares is not None else {}
    rows = []
    for index, name in enumerate(shown.table.classes):
        recall = shown.intervals[f"recall/{name}"]
        support = int(shown.support[index])
        rows.append(
            (
                Cell(name, name),
                Cell(numbers.count(support), float(support)),
                Cell("", sortable(recall.value), picture=_bar(recall) if support else None),
                rate(recall, absent=not support),
                rate(shown.intervals[f"precision/{name}"], absent=not shown.confusion[:, index].sum()),
                rate(shown.intervals[f"f1/{name}"], absent=not support),
                rate(shown.intervals[f"auroc/{name}"], digits=3, share=False),
                *([rate(trust[name])] if trust else []),
                Cell(_taken_for(shown, index)),
            )
        )
    columns = (
        Column("Class", number=False),
        Column("Images"),
        Column("Found", "Recall as a bar, with its interval", number=False, plain=False),
        Column("Recall", "Share of the class's images that were found"),
        Column("Precision", "Share of the answers of this class that were right"),
        Column("F1", "Harmonic mean of precision and recall"),
        Column("AUC", "Area under the ROC curve against all other classes"),
        *(
            [Column("Trust", "Precision to expect where classes are as frequent as in all of the data")]
            if trust
            else []
        ),
        Column("Most often taken for", number=False),
    )
    part = PART_NAMES[shown.table.meta.part]
    notes = stars([*(found for name, found in shown.intervals.items() if "/" in name), *trust.values()])
    return Table(f"Each class of the {part} part, with 95 % intervals.", columns, tuple(rows), notes=notes)


def roc(shown: Evidence, background: bool = True) -> Section:
    """One small chart a class, the others in grey behind it."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for index, name in enumerate(shown.table.classes):
        points = curves.roc(shown.table.labels == index, shown.table.probabilities[:, index])
        if points is not None:
            x, y = curves.thinned(*points, ROC_POINTS)
            lines[name] = (x.tolist(), y.tolist())
    charts = []
    for name in lines:
        others = [svg.Series(other, *lines[other], "grey", thin=True) for other in lines if other != name]
        area = shown.intervals[f"auroc/{name}"]
        picture = svg.roc_chart(
            svg.Series("found", *lines[name]),
            others if background else [],
            title=f"ROC curve of {name}, area {numbers.decimal(area.value)}",
        )
        caption = f"AUC {with_interval(area, share=False)}"
        charts.append(Chart(name, picture, caption))
    lead = (
        "How many of a class are found (upwards) for how many false alarms (to the right), whatever the threshold. "
        f"Mean area: {with_interval(shown.intervals['auroc_macro'], share=False)}."
    )
    blocks: tuple[Block, ...] = (Beside(tuple(charts), narrow=True), *(Note(text) for text in _absent(shown)))
    if not charts:
        blocks = (Note("A ROC curve needs images of a class and of others; this part has only one class."),)
        lead = ""
    return Section("roc", "ROC", lead, blocks)


def confidence(shown: Evidence, validation: Evidence | None = None) -> Section:
    """Reliability diagram, risk–coverage curve, and thresholds for wanted shares of mistakes.

    Args:
        validation: what a temperature and thresholds may be fitted on, where `shown` is the test part.
    """
    labels, probabilities = shown.table.labels, shown.table.probabilities
    bins = calibration.reliability(labels, probabilities).filter(pl.col("count") > 0)
    sure, right, sizes, low, high = (
        bins[name].to_list() for name in ("confidence", "accuracy", "count", "accuracy_low", "accuracy_high")
    )
    gap = float(shown.table.confidence.mean()) - shown.values["accuracy"]
    manner = (
        "It is overconfident"
        if gap > 0.01
        else "It is underconfident"
        if gap < -0.01
        else "On average it is as sure as it should be"
    )
    lead = (
        f"{manner}: mean confidence {numbers.percent(float(shown.table.confidence.mean()))}, accuracy "
        f"{numbers.percent(shown.values['accuracy'])}. Calibration error {with_interval(shown.intervals['ece'])}."
    )
    rows = tuple(
        (
            Cell(numbers.percent(a), a),
            Cell(numbers.percent(b), b, numbers.interval(start, end)),
            Cell(numbers.count(n), float(n)),
        )
        for a, b, n, start, end in zip(sure, right, sizes, low, high, strict=True)
    )
    columns = (Column("Mean confidence"), Column("Accuracy"), Column("Images"))
    reliability = Chart(
        "Reliability",
        svg.reliability_chart(sure, right, sizes, low, high, title="Accuracy in each bin of confidence"),
        "On the dotted line, an answer given with 70 % confidence is right in 70 % of cases.",
        (Key("this network", "blue"), Key("gap", "vermilion", square=True)),
        Table("Bins of the reliability diagram.", columns, rows, sortable=False),
    )
    risk = _risk_chart(shown)
    scaled = _scaled(shown, validation) if validation is not None else ()
    blocks: list[Block] = [Beside((reliability, risk)), *scaled]
    if validation is not None or shown.table.meta.part == "val":
        blocks.append(Sheet(threshold_table(shown, validation)))
    return Section("confidence", "Confidence", lead, tuple(blocks))


def threshold_table(shown: Evidence, validation: Evidence | None = None) -> Table:
    """The confidence from which on answers have so few mistakes, and what it does on the part that is shown.

    Args:
        shown: the test part; or the validation part, whose own thresholds look better than they are.
        validation: what they are fitted on, where `shown` is the test part.
    """
    fitted_on = validation or shown
    parts = [fitted_on] if validation is None else [validation, shown]
    rows, intervals = [], []
    for wanted in WANTED_ERRORS:
        for confidence in (None, PROMISE):
            found = calibration.threshold_for(fitted_on.table, wanted, confidence=confidence)
            name = numbers.percent(wanted, 0) + (", promised" if confidence else "")
            given = []
            for part in parts:
                coverage, wrong = calibration.answered(part.table, found)[0], _mistakes(part, found)
                given.append(Cell(numbers.percent(coverage), coverage))
                given.append(rate(wrong) if wrong else Cell(numbers.MISSING))
                intervals += [wrong] if wrong else []
            none = math.isinf(found.value)
            at_least = Cell(numbers.MISSING) if none else Cell(numbers.decimal(found.value, 4), found.value)
            rows.append((Cell(name, wanted), at_least, *given))
    columns = [
        Column("Mistakes wanted", "Largest share of mistakes among the answers", number=False),
        Column("Answer from", "Smallest confidence with which an answer is given"),
    ]
    for part in parts:
        called = PART_NAMES[part.table.meta.part]
        columns += [
            Column(f"Answered, {called}", "Share of the images that get an answer"),
            Column(f"Wrong, {called}", "Share of mistakes among the answers, with its 95 % interval"),
        ]
    notes = [
        "The plain threshold keeps the share on the validation images that it was fitted on. The promised one keeps it "
        f"on new images like them, in {numbers.percent(PROMISE, 0)} of cases, by Clopper and Pearson’s bound (Geifman "
        "and El-Yaniv 2017). A dash: no threshold does.",
    ]
    if validation is None:
        notes.append("Fitted and shown on the same images, which flatters the plain thresholds.")
    notes += stars(intervals)
    caption = "How sure a network has to be for so few mistakes: thresholds fitted on validation images."
    return Table(caption, tuple(columns), tuple(rows), notes=tuple(notes), sortable=False)


def _mistakes(evidence: Evidence, threshold: calibration.Threshold) -> Interval | None:
    """The share of mistakes among the answers that a threshold lets through; None where it lets none through."""
    unsure = [
        name
        for name, sure in zip(evidence.table.ids, evidence.table.confidence, strict=True)
        if sure < threshold.value
    ]
    kept = evidence.without(unsure)
    if kept is None:
        return None
    right = kept.estimated(["accuracy"])["accuracy"]
    return replace(right, value=1 - right.value, low=1 - right.high, high=1 - right.low)


def gallery(
    shown: Evidence,
    run: RunFolder,
    album: Album,
    images: ImageLookup | None,
    faces: int = FACES,
    pairs: bool = True,
) -> Section:
    """The surest mistakes, near misses, and the most frequent confusions."""
    table = shown.table
    sure, near = mistakes.most_confident(table, faces), mistakes.near_misses(table, min(faces, NEAR))
    by_pair = mistakes.by_pair(table, PAIRS, FACES_A_PAIR) if pairs else []
    if not len(sure):
        return Section("mistakes", "Mistakes", "There are none on this part.", ())
    blocks: list[Block] = []
    rows = np.unique(np.concatenate([sure, near, *(rows for *_, rows in by_pair)]))
    pictures, problem = look_up(run, images, album, [table.ids[row] for row in rows])
    if problem:
        blocks.append(Note(problem))
    lead = "The bar under a face: how sure the network was of its answer (orange) and of the label (blue)."
    blocks.append(
        Gallery(
            "Sure and wrong", faces_of(table, sure, pictures), "Some may be mistakes in the labels. " + lead
        )
    )
    if len(near):
        blocks.append(
            Gallery("Near misses", faces_of(table, near, pictures), "The label came second, barely.")
        )
    total = int((table.predicted != table.labels).sum())
    inner = tuple(
        Gallery(
            f"{table.classes[label]} taken for {table.classes[answer]}",
            faces_of(table, chosen, pictures),
            f"{number:,} images, {numbers.percent(number / total, 0)} of all mistakes.",
        )
        for label, answer, number, chosen in by_pair
    )
    if inner:
        blocks.append(Folded("The most frequent confusions, pair by pair", inner))
    title = f"{total:,} of {len(table):,} images got another answer than their label."
    return Section("mistakes", "Mistakes", title, tuple(blocks))


def look_up(
    run: RunFolder, images: ImageLookup | None, album: Album, ids: Sequence[str]
) -> tuple[dict[str, str], str]:
    """Sample id → name in the album, and what to say about those that can't be shown."""
    if images is None:
        return {}, "The images themselves are not shown: the data was not at hand when this report was made."
    try:
        found = images(run, ids)
    except EmotionError as error:
        return {}, f"The images can’t be shown. {error}"
    missing = len(ids) - len(found)
    problem = (
        f"{missing} of {len(ids)} images are no longer in the data and can’t be shown." if missing else ""
    )
    return {name: album.add(pixels) for name, pixels in found.items()}, problem


def faces_of(table: Predictions, rows: np.ndarray, pictures: Mapping[str, str]) -> tuple[Face, ...]:
    return tuple(
        Face(
            pictures.get(table.ids[row]),
            table.ids[row],
            table.classes[table.labels[row]],
            table.classes[table.predicted[row]],
            float(table.confidence[row]),
            float(table.probabilities[row, table.labels[row]]),
        )
        for row in rows
    )


def _absent(shown: Evidence) -> list[str]:
    missing = [name for name, count in zip(shown.table.classes, shown.support, strict=True) if not count]
    if not missing:
        return []
    part = PART_NAMES[shown.table.meta.part]
    return [
        f"The {part} part has no image of {' and '.join(missing)}: nothing can be said about "
        f"{'it' if len(missing) == 1 else 'them'}, and macro F1 counts {'it' if len(missing) == 1 else 'each'} as 0."
    ]


def _taken_for(shown: Evidence, index: int) -> str:
    row = shown.confusion[index].copy()
    total, row[index] = row.sum(), 0
    if not total or not row.any():
        return numbers.MISSING
    return f"{shown.table.classes[int(row.argmax())]} ({numbers.percent(row.max() / total, 0)})"


def _bar(found: Interval) -> Markup:
    if np.isfinite(found.low):
        return svg.share_bar(found.value, found.low, found.high)
    return svg.share_bar(found.value)


def _scaled(shown: Evidence, validation: Evidence) -> tuple[Block, ...]:
    """What temperature scaling would change, as a sentence."""
    try:
        temperature = calibration.fit_temperature(validation.table)
    except EmotionError as error:
        return (Note(f"No temperature could be fitted. {error}"),)
    if temperature.at_bound:
        return ()
    after = Evidence(temperature.apply(shown.table)).values
    return (
        Prose(
            f"Temperature scaling, fitted on validation images, divides the logits by {temperature.value:.2f}. It "
            f"takes the calibration error of the {PART_NAMES[shown.table.meta.part]} part from "
            f"{numbers.percent(shown.values['ece'])} to {numbers.percent(after['ece'])} and its log loss from "
            f"{numbers.decimal(shown.values['log_loss'])} to {numbers.decimal(after['log_loss'])}; no answer changes."
        ),
    )


def _risk_chart(shown: Evidence) -> Chart:
    table = calibration.risk_coverage(shown.table.labels, shown.table.probabilities)
    x, y = curves.thinned(table["coverage"].to_numpy(), table["risk"].to_numpy(), 100)
    series = svg.Series("wrong among the answered", x.tolist(), y.tolist())
    area = calibration.aurc(shown.table.labels, shown.table.probabilities)
    half = float(np.interp(0.5, table["coverage"].to_numpy(), table["risk"].to_numpy()))
    places = [place / 10 for place in range(1, 11)]
    risks = np.interp(places, table["coverage"].to_numpy(), table["risk"].to_numpy())
    rows = tuple(
        (Cell(numbers.percent(place, 0), place), Cell(numbers.percent(risk), float(risk)))
        for place, risk in zip(places, risks, strict=True)
    )
    picture = svg.line_chart(
        [series],
        svg.Axis("images that it answers, the surest first", 0, 1, "percent"),
        svg.Axis("wrong among them", 0, None, "percent"),
        title="Share of wrong answers against the share of images that are answered",
        height=360,
    )
    columns = (Column("Answered"), Column("Wrong among them"))
    return Chart(
        "If it may abstain",
        picture,
        f"Answering only the half it is surest of, {numbers.percent(half)} of its answers are wrong. The area under "
        f"the curve (AURC), the mean over all shares, is {numbers.percent(area)}.",
        data=Table("Risk and coverage.", columns, rows, sortable=False),
    )
