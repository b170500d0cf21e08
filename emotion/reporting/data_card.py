"""What a run learnt from, what it was judged by, and what leaked from one into the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from emotion.data import sampling as filling
from emotion.registry import entries
from emotion.reporting import numbers, svg
from emotion.reporting.evidence import PART_NAMES, Evidence, Subject
from emotion.reporting.page import Beside, Block, Chart, Facts, Key, Note, Section
from emotion.reporting.tables import Cell, Column, Table

_PART_COLOURS = {"train": "grey", "val": "blue", "test": "vermilion", "official_test": "green"}


def data(subject: Subject, name: str = "data", scored: bool = True) -> Section:
    """Class distribution, where the split comes from, notes and, where `scored`, what leaks are worth."""
    splits = subject.splits
    counts = _split_counts(splits)
    blocks: list[Block] = []
    if counts:
        names = list(next(iter(counts.values())))
        groups = [
            (
                PART_NAMES.get(part, part),
                _PART_COLOURS.get(part, "green"),
                [float(values.get(name, 0)) for name in names],
            )
            for part, values in counts.items()
        ]
        columns = (Column("Class", number=False), *(Column(part.capitalize()) for part, *_ in groups))
        rows = tuple(
            (Cell(name, name), *(Cell(numbers.count(values[row]), values[row]) for *_, values in groups))
            for row, name in enumerate(names)
        )
        table = Table("Images of each class in each part.", columns, rows, sortable=False)
        chart = class_chart(names, groups, table)
        blocks.append(Beside((chart, Facts(_data_facts(subject, counts, scored)))))
    else:
        blocks += [
            Note("The split of this run (splits.json) can’t be read."),
            Facts(_data_facts(subject, counts, scored)),
        ]
    balanced = sampling(subject) if scored else None
    blocks += [balanced] if balanced is not None else []
    blocks += [Note(str(text)) for text in (splits.get("data") or {}).get("notes") or ()]
    blocks += _leak_blocks(subject, scored)
    title = "Data" if name == "data" else f"Data: {subject.data}"
    return Section(name, title, "What was learnt from, and what it was judged by.", tuple(blocks))


def class_chart(
    names: Sequence[str], groups: Sequence[tuple[str, str, Sequence[float]]], table: Table | None = None
) -> Chart:
    """Which share of a part each class has.

    Args:
        names: of the K classes.
        groups: for each part its name, its colour and (K,) counts of images.
        table: the same as numbers.
    """
    return Chart(
        "Classes of each part",
        svg.bar_chart(names, groups, title="Share of each class in each part"),
        "Share of the part’s images.",
        tuple(
            Key(f"{part} ({numbers.count(sum(values))})", colour, square=True)
            for part, colour, values in groups
        ),
        table,
    )


def sampling(subject: Subject) -> Chart | None:
    """Which share each class has before and after balancing; None where nothing is balanced, or not known how.

    Before: the training part, or all there was where a subset was drawn or copies were added before the split. After:
    what an epoch shows.
    """
    splits, section = subject.splits, subject.config.get("sampling")
    train = _split_counts(splits).get("train")
    if not train or not isinstance(section, Mapping) or section.get("name") not in entries("sampling"):
        return None
    names = list(train)
    try:
        chosen = entries("sampling")[section["name"]].schema.model_validate(section)
    except ValidationError:
        return None
    labels = np.repeat(np.arange(len(names)), [train[name] for name in names])
    shown = np.bincount(labels[filling.build(chosen).plan(labels, 0, 0)[0]], minlength=len(names))
    start = splits.get("before") or train
    before = [float(start.get(name, 0)) for name in names]
    if np.allclose(np.array(before) / sum(before), shown / shown.sum()):
        return None
    groups = [("before", "grey", before), ("an epoch", "blue", [float(value) for value in shown])]
    columns = (Column("Class", number=False), Column("Before"), Column("An epoch"))
    rows = tuple(
        (Cell(name, name), *(Cell(numbers.count(values[row]), values[row]) for *_, values in groups))
        for row, name in enumerate(names)
    )
    table = Table("Images of each class before and after balancing.", columns, rows, sortable=False)
    return replace(class_chart(names, groups, table), title="Classes before and after balancing")


def without_leaks(subject: Subject) -> Evidence | None:
    leaked = _leaked_ids(subject)
    return subject.shown.without(leaked) if subject.shown is not None and leaked else None


def natural_counts(subject: Subject, classes: Sequence[str]) -> list[float] | None:
    """(K,) images of each class in all parts together, before any balancing; None where that isn't known."""
    before = subject.splits.get("before")
    if not before and (subject.leaky or subject.splits.get("per_class")):
        return None
    parts = [before] if before else _split_counts(subject.splits).values()
    if not parts or any(set(part) != set(classes) for part in parts):
        return None
    return [float(sum(part[name] for part in parts)) for name in classes]


def _split_counts(splits: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    counts = splits.get("counts")
    if not isinstance(counts, Mapping):
        return {}
    return {part: dict(values) for part, values in counts.items() if isinstance(values, Mapping) and values}


def _data_facts(
    subject: Subject, counts: Mapping[str, Mapping[str, int]], scored: bool
) -> tuple[tuple[str, str], ...]:
    splits = subject.splits
    known = splits.get("data") or {}
    strategy = {
        "official": "as published",
        "given": "as the files give it",
        "holdout": "hold-out made here",
        "kfold": f"fold {splits.get('fold')} of {splits.get('folds')}, counted from 0"
        if scored
        else f"{splits.get('folds')} folds; these counts are of fold {splits.get('fold')}",
    }.get(str(splits.get("strategy")), str(splits.get("strategy") or numbers.MISSING))
    if splits.get("strategy") in ("official", "given") and splits.get("made") == ["val"]:
        strategy += ", but validation, which is taken from training"
    facts = [("Data set", subject.data)]
    if known.get("size_px"):
        colour = "grey" if known.get("channels") == 1 else "colour"
        facts.append(
            ("Stored images", f"{numbers.count(known.get('images'))}, {known['size_px']} px, {colour}")
        )
    rejected = {str(reason): int(number) for reason, number in (known.get("rejected") or {}).items()}
    if rejected:
        words = ", ".join(f"{number:,} {reason}" for reason, number in rejected.items())
        facts.append(("Left out", words))
    if known.get("groups"):
        facts.append(("Groups (persons, sources)", numbers.count(known["groups"])))
    facts.append(("Split", strategy))
    if splits.get("made"):
        facts.append(("Seed of the split", str(splits.get("seed"))))
    facts += [
        (f"{PART_NAMES.get(part, part).capitalize()} images", numbers.count(sum(values.values())))
        for part, values in counts.items()
    ]
    if known.get("fingerprint"):
        facts.append(("Fingerprint of the data", str(known["fingerprint"])[:12]))
    prints = splits.get("hash") or {}
    if subject.shown is not None and isinstance(prints, Mapping) and subject.shown.table.meta.part in prints:
        part = subject.shown.table.meta.part
        facts.append((f"Fingerprint of the {PART_NAMES[part]} part", str(prints[part])[:12]))
    return tuple(facts)


def _leaked_ids(subject: Subject) -> list[str]:
    """Ids of scored images that share an id, a group or their pixels with what the run learnt from."""
    splits, shown = subject.splits, subject.shown
    if shown is not None and shown.table.meta.part == "test":
        return [str(name) for name in splits.get("leaked_test_ids") or ()]
    leaks = splits.get("leaks") or ()
    return sorted({str(name) for leak in leaks if leak["parts"] == ["train", "val"] for name in leak["ids"]})


def _leak_blocks(subject: Subject, scored: bool) -> list[Block]:
    shown = subject.shown
    if shown is None:
        return []
    named = len(_leaked_ids(subject))
    leaked = named or (subject.splits.get("leaked_test_count", 0) if shown.table.meta.part == "test" else 0)
    if not leaked:
        return []
    count, part = len(shown.table), PART_NAMES[shown.table.meta.part]
    found = (
        f"{leaked:,} of {count:,} {part} images ({numbers.percent(leaked / count)}) share their pixels, a "
        "person or a source with what the network learnt from."
    )
    if not named:
        return [Note(f"{found} Which ones isn't kept: the protocol is leaky.")]
    clean = without_leaks(subject)
    if not scored:
        return [Note(f"{found} The report of a single run says what that is worth.")]
    if clean is None:
        return [Note(f"{found} Nothing is left without them.")]
    before, after = shown.values["accuracy"], clean.values["accuracy"]
    return [
        Note(
            f"{found} Without them accuracy is {numbers.percent(after)} instead of {numbers.percent(before)} "
            f"({numbers.points(after - before)} points)."
        )
    ]
