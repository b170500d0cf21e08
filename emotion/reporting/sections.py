"""The sections of a run's report that are about the run itself, and its result in a sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import yaml

from emotion.evaluation.comparison import is_share
from emotion.evaluation.metrics import LOWER_IS_BETTER
from emotion.reporting import numbers, svg
from emotion.reporting.album import png_address
from emotion.reporting.data_card import without_leaks
from emotion.reporting.estimates import ends, headline_cells, said, sortable, stars
from emotion.reporting.evidence import (
    HEADLINE,
    METRIC_HINTS,
    METRIC_NAMES,
    PART_NAMES,
    Evidence,
    Subject,
)
from emotion.reporting.page import (
    Beside,
    Block,
    Chart,
    Facts,
    Folded,
    Key,
    Listing,
    Note,
    Picture,
    Section,
    Sheet,
    Tile,
    Tiles,
)
from emotion.reporting.tables import Cell, Column, Table
from emotion.runs import typed_line

NO_PREDICTIONS = (
    "This run has left no predictions that can be read, and every score is computed from them: scores, confusion, "
    "classes, ROC, confidence and mistakes are left out. The same training command again completes the run."
)


def scores(subject: Subject) -> Section:
    """The headline numbers, and those of every part beside one another."""
    shown = subject.shown
    if shown is None:
        return Section("scores", "Scores", "", (Note(NO_PREDICTIONS),))
    part = shown.table.meta.part
    tiles = Tiles(tuple(_tile(shown, name) for name in HEADLINE))
    blocks: list[Block] = [Note(_LEAKY), tiles] if subject.leaky else [tiles]
    if part == "val":
        blocks.append(Note(_SELECTED if shown.table.meta.selected_on_this_part else _NO_TEST))
    blocks += [Note(text) for text in _doubts(shown)]
    scored = {PART_NAMES[name]: evidence for name, evidence in subject.parts.items()}
    clean = without_leaks(subject)
    if clean is not None:
        scored["test, leaked images left out"] = clean
    if len(scored) > 1:
        columns = (
            Column("Part", number=False),
            Column("Images"),
            *(Column(METRIC_NAMES[name], METRIC_HINTS[name]) for name in HEADLINE),
        )
        rows = tuple(_part_row(title, evidence) for title, evidence in scored.items())
        notes = stars(one for evidence in scored.values() for one in evidence.headline.values())
        caption = "Scores on each part, with 95 % intervals."
        blocks.append(Sheet(Table(caption, columns, rows, sortable=False, notes=notes)))
    lead = f"On the {len(shown.table):,} images of the {PART_NAMES[part]} part, with 95 % intervals."
    return Section("scores", "Scores", lead, tuple(blocks))


def learning(subject: Subject) -> Section:
    lead = "What each epoch brought; the weights of the marked one were kept."
    history = subject.history
    if history is None or not history.height or "epoch" not in history.columns:
        return Section(
            "learning", "Learning", "", (Note("There is no history of the training (metrics.csv)."),)
        )
    best = (subject.status.get("best") or {}).get("epoch")
    mark = (float(best) + 1, "kept") if isinstance(best, int | float) else None
    epochs = [float(value) + 1 for value in history["epoch"]]
    charts = []
    for title, kind, lines in (
        ("Loss", "number", _LOSS_LINES),
        ("Accuracy and macro F1", "percent", _SCORE_LINES),
    ):
        series = [
            svg.Series(name, epochs, floats(history[column]), colour, dashed)
            for column, name, colour, dashed in lines
            if column in history.columns
        ]
        if not series:
            continue
        picture = svg.line_chart(
            series,
            svg.Axis("epoch", text="integer"),
            svg.Axis("", text=kind),
            title=f"{title} over {len(epochs)} epochs",
            mark=mark,
        )
        legend = tuple(Key(item.name, item.colour, item.dashed) for item in series)
        data = _curve_table(f"{title} after each epoch.", "Epoch", epochs, series, kind)
        charts.append(Chart(title, picture, legend=legend, data=data))
    return Section("learning", "Learning", lead, (Beside(tuple(charts)),))


def augmentation(subject: Subject) -> Section | None:
    path = subject.run.file("figures/augmentation_grid.png")
    if not path.is_file():
        return None
    policy = dict(subject.config.get("augment") or {})
    name = policy.pop("name", "unknown policy")
    words = ", ".join(
        [
            f"policy {name}",
            *(f"{key} {value:g}" for key, value in policy.items() if _number(value) is not None),
        ]
    )
    picture = Picture(
        "",
        png_address(path.read_bytes()),
        "Rows of training images: the stored image first, then versions of it that the network was shown.",
    )
    return Section(
        "augmentation", "Augmentation", f"Training images as the network sees them ({words}).", (picture,)
    )


def explanation(subject: Subject) -> Section | None:
    """The sheets that `emotion explain` has left."""
    path = subject.run.file("explanation/sheets.json")
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text())
        sheets, method, layer = facts["sheets"], facts["method"], facts["layer"]
    except (ValueError, KeyError, TypeError):
        said = f"{path} is not whole; `emotion explain` makes it again."
        return Section("explanation", "Explanation", "", (Note(said),))
    blocks: list[Block] = []
    blocks += [Note(text) for text in facts.get("notes", ())]
    features: list[Block] = []
    for sheet in sheets:
        file = path.parent / sheet["file"]
        if not file.is_file():
            blocks.append(Note(f"{file} is not there; `emotion explain` makes it again."))
            continue
        alt = f"{sheet['title']}: {sheet['caption']}"
        picture = Picture(sheet["title"], png_address(file.read_bytes()), alt, sheet["caption"])
        (features if sheet["file"].startswith("features") else blocks).append(picture)
    if features:
        blocks.append(Folded("Feature maps, layer by layer", tuple(features)))
    where = f" of {layer}" if layer else ""
    lead = (
        f"Where in an image the answer comes from ({_METHODS.get(method, method)}{where}); the lighter, the more. Such "
        "a map says where the network looked, not whether it was right to."
    )
    return Section("explanation", "Explanation", lead, tuple(blocks))


def cost(subject: Subject) -> Section:
    found, seconds = subject.cost, subject.status.get("seconds") or {}
    facts = [
        ("Parameters", numbers.short(_number(found.get("parameters")))),
        ("of them trained", numbers.short(_number(found.get("trainable")))),
        ("Multiply-adds an image", numbers.short(_number(found.get("macs")))),
        ("Training", numbers.duration(_number(found.get("train_s", seconds.get("train"))))),
        ("Whole run", numbers.duration(_number(seconds.get("total")))),
        ("Training speed", f"{numbers.count(_number(found.get('images_per_s')))} images/s"),
        ("Peak memory", f"{numbers.count(_number(found.get('memory_mib')))} MiB"),
        ("Peak memory on the GPU", f"{numbers.count(_number(found.get('gpu_memory_mib')))} MiB"),
        ("Size on disk", f"{numbers.decimal(_number(found.get('file_mib')), 1)} MiB"),
    ]
    kept = tuple((name, text) for name, text in facts if not text.startswith(numbers.MISSING))
    if not kept:
        why = "." if subject.finished else ": it has not finished."
        return Section("cost", "Cost", "", (Note(f"What this run cost is not known{why}"),))
    hardware = subject.environment.get("hardware") or {}
    where = hardware.get("gpu") or hardware.get("cpu")
    how = subject.environment.get("precision", "unknown precision")
    how += ", compiled" if subject.environment.get("compiled") else ""
    lead = f"On {where}, {how}." if where else ""
    return Section("cost", "Cost", lead, (Facts(kept),))


def reproduce(subject: Subject, commands: Sequence[str]) -> Section:
    """The command, the configuration and the environment."""
    lines = [*commands] or [command_of(subject)]
    blocks: list[Block] = []
    if any(lines):
        blocks.append(Listing("", "\n".join(line for line in lines if line)))
    else:
        blocks.append(Note("The command that made this run is not recorded."))
    if subject.config:
        text = yaml.safe_dump(subject.config, allow_unicode=True, sort_keys=False, width=100)
        blocks.append(Folded("Configuration", (Listing("", text.rstrip()),)))
    if subject.environment:
        blocks.append(Folded("Environment", (Facts(_environment_facts(subject)),)))
    lead = "The command that made it; the same command again skips a finished run and continues an unfinished one."
    return Section("reproduce", "Reproduce", lead, tuple(blocks))


def where(subjects: Sequence[Subject]) -> Facts:
    """Folders and states of a configuration's runs."""
    facts = []
    for subject in subjects:
        seconds = _number((subject.status.get("seconds") or {}).get("total"))
        state = str(subject.status.get("state") or "unknown state")
        facts.append((subject.run.name, f"{state}, {numbers.duration(seconds)}" if seconds else state))
    return Facts(tuple(facts))


def command_of(subject: Subject) -> str:
    return typed_line(str(subject.environment.get("command") or ""))


def byline(subject: Subject) -> tuple[str, ...]:
    """The run's folder, when it was made and with what."""
    status, environment = subject.status, subject.environment
    state = status.get("state")
    parts = [subject.run.name]
    if state and state != "finished":
        parts.append(f"{state}, epoch {status.get('epoch')} of {status.get('epochs')}")
    elif status.get("finished"):
        parts.append(f"finished {_day(str(status['finished']))}")
    if (status.get("attempt") or 1) > 1:
        parts.append(f"attempt {status['attempt']}")
    seconds = _number((status.get("seconds") or {}).get("total"))
    if seconds:
        parts.append(
            f"{numbers.duration(seconds)} on {'a GPU' if (environment.get('hardware') or {}).get('gpu') else 'the CPU'}"
        )
    if status.get("version"):
        parts.append(f"emotion {status['version']}")
    return tuple(parts)


def finding(subject: Subject) -> str:
    """The result in plain sentences."""
    shown = subject.shown
    if shown is None:
        state = "has left no predictions that can be read" if subject.finished else "has not finished"
        return f"This run {state}, so nothing can be said about how good it is."
    accuracy = shown.intervals["accuracy"]
    right = int(np.trace(shown.confusion))
    most = int(shown.support.argmax())
    part = PART_NAMES[shown.table.meta.part]
    sentences = [_LEAKY] if subject.leaky else []
    sentences += [
        f"{subject.model} gives {right:,} of {len(shown.table):,} {part} images the label that the data gives them: "
        f"{said(accuracy)}.",
        f"Always answering “{shown.table.classes[most]}” would reach "
        f"{numbers.percent(shown.support[most] / shown.support.sum())}.",
    ]
    present = [index for index in range(len(shown.support)) if shown.support[index]]
    if len(present) > 1:
        recall = {index: shown.confusion[index, index] / shown.support[index] for index in present}
        best, worst = max(present, key=recall.__getitem__), min(present, key=recall.__getitem__)
        sentences.append(
            f"It finds {shown.table.classes[best]} best ({numbers.percent(recall[best], 0)}) and "
            f"{shown.table.classes[worst]} worst ({numbers.percent(recall[worst], 0)})."
        )
    return " ".join(sentences)


def floats(column: pl.Series) -> list[float]:
    return [
        float("nan") if value is None else float(value) for value in column.cast(pl.Float64, strict=False)
    ]


_METHODS = {
    "layer_cam": "LayerCAM",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "occlusion": "occlusion",
}


_SELECTED = (
    "There are no test predictions: these scores are from the validation part, on which the epoch was chosen. They "
    "are too good by some unknown amount."
)


_LEAKY = (
    "Leaky protocol: the classes were filled up with changed copies before the split, so that test images have copies "
    "of themselves in training. These scores say nothing about new faces; they stand beside a report’s, made alike."
)
_NO_TEST = "There are no test predictions: these scores are from the validation part."


_LOSS_LINES = (("train/loss", "training", "grey", True), ("val/loss", "validation", "blue", False))


_SCORE_LINES = (
    ("train/accuracy", "training accuracy", "grey", True),
    ("val/accuracy", "validation accuracy", "blue", False),
    ("val/f1_macro", "validation macro F1", "vermilion", False),
)


def _tile(shown: Evidence, name: str) -> Tile:
    found = shown.intervals[name]
    share = is_share(name)
    note = "lower is better" if name in LOWER_IS_BETTER else ""
    if name == "accuracy":
        note = f"chance {numbers.percent(1 / len(shown.table.classes))}"
    if name == "balanced_accuracy":
        note = "mean recall (UAR)"
    value = numbers.percent(found.value) if share else numbers.decimal(found.value)
    return Tile(METRIC_NAMES[name], value, ends(found, 1 if share else 3, share), note)


def _part_row(title: str, evidence: Evidence) -> tuple[Cell, ...]:
    size = len(evidence.table)
    return (Cell(title), Cell(numbers.count(size), float(size)), *headline_cells(evidence))


def _doubts(shown: Evidence) -> list[str]:
    """What the intervals themselves say against their use, each sentence once."""
    doubts: dict[str, list[str]] = {}
    for name in HEADLINE:
        found = shown.intervals[name]
        if not found.reliable and found.note:
            doubts.setdefault(found.note, []).append(METRIC_NAMES[name])
    return [f"{', '.join(names)}: {note}" for note, names in doubts.items()]


def _curve_table(
    caption: str, name: str, x: Sequence[float], series: Sequence[svg.Series], kind: str
) -> Table:
    def text(value: float) -> str:
        return numbers.percent(value) if kind == "percent" else numbers.decimal(value)

    rows = tuple(
        (Cell(f"{at:g}", at), *(Cell(text(item.y[row]), sortable(item.y[row])) for item in series))
        for row, at in enumerate(x)
    )
    return Table(caption, (Column(name), *(Column(item.name) for item in series)), rows, sortable=False)


def _environment_facts(subject: Subject) -> tuple[tuple[str, str], ...]:
    environment, status = subject.environment, subject.status
    facts = [(key, str(value)) for key, value in (environment.get("versions") or {}).items()]
    commit = environment.get("commit")
    if commit:
        facts.append(
            ("commit", str(commit)[:12] + (" with local changes" if environment.get("dirty") else ""))
        )
    hardware = environment.get("hardware") or {}
    facts += [
        (key.replace("_gib", " (GiB)"), str(value)) for key, value in hardware.items() if value is not None
    ]
    facts += [
        (key, str(environment[key]))
        for key in ("device", "threads", "precision", "compiled")
        if key in environment
    ]
    facts += [(key, str(status[key])) for key in ("started", "finished") if status.get(key)]
    return tuple(facts)


def _day(time: str) -> str:
    try:
        return datetime.fromisoformat(time.replace(" UTC", "+00:00")).strftime("%-d %B %Y, %H:%M %Z").rstrip()
    except ValueError:
        return time


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
