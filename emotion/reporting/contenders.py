"""Runs that are compared: folds of one configuration are one contender, named by what sets it apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from emotion.errors import EmotionError
from emotion.evaluation.folds import pool
from emotion.evaluation.predictions import Part
from emotion.reporting.evidence import Evidence, Subject

# Keys that make no other configuration: where, how and under which name it ran, and which part of the data validated.
_NOT_COMPARED = (
    "machine.",
    "logger.",
    "force",
    "name",
    "fold",
    "folds",
    "data.root",
    "evaluation.test",
    "evaluation.batch_size",
    "trainer.compile",
)
# Chosen by another key, so that they say nothing new beside it.
_NAME_FIRST = (
    "model.name",
    "data.name",
    "loss.name",
    "sampling.name",
    "augment.name",
    "optimizer.name",
    "schedule.name",
)


@dataclass
class Contender:
    """One configuration, as a single run or as its folds.

    Attributes:
        subjects: its runs, folds in order.
        name: what sets it apart from the others.
        problems: why parts of it could not be put together.
    """

    subjects: list[Subject]
    name: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def first(self) -> Subject:
        return self.subjects[0]

    @property
    def folded(self) -> bool:
        return any(subject.fold is not None for subject in self.subjects)

    @property
    def scored(self) -> list[Subject]:
        """Its runs that have validation predictions."""
        return [subject for subject in self.subjects if "val" in subject.parts]

    @cached_property
    def validation(self) -> Evidence | None:
        """Validation predictions; those of all folds together, each image once."""
        found = [subject.parts["val"] for subject in self.scored]
        if len(found) < 2:
            return found[0] if found else None
        try:
            return Evidence(pool([evidence.table for evidence in found], run=self.name), found[0].resamples)
        except EmotionError as error:
            self.problems.append(
                f"{self.name}: the folds can’t be put together; the first stands for all. {error}"
            )
            return found[0]

    @cached_property
    def tests(self) -> list[Evidence]:
        return [subject.parts["test"] for subject in self.subjects if "test" in subject.parts]

    def evidence(self, part: Part) -> Evidence | None:
        """The one table of a part that this contender is judged by; None where there is none."""
        if part == "val":
            return self.validation
        if len(self.tests) > 1:
            self.problems.append(
                f"{self.name}: each of its {len(self.tests)} folds has answered the same test images, so that they "
                "can’t be put together; compare single runs on the test part."
            )
            return None
        return self.tests[0] if self.tests else None

    def cost(self, name: str) -> float | None:
        """A cost, the mean over the folds."""
        values = [subject.cost.get(name) for subject in self.subjects]
        known = [float(value) for value in values if isinstance(value, int | float)]
        return sum(known) / len(known) if known else None


def contenders(subjects: Sequence[Subject]) -> list[Contender]:
    """The runs by configuration, in the order in which they were given."""
    found: list[Contender] = []
    for subject in subjects:
        home = next((contender for contender in found if _belongs(subject, contender)), None)
        if home is None:
            found.append(Contender([subject]))
        else:
            home.subjects = sorted([*home.subjects, subject], key=lambda member: member.fold or 0)
    _name(found)
    return found


def _belongs(subject: Subject, contender: Contender) -> bool:
    """Whether a run is another fold of what a contender already is."""
    folds = [member.fold for member in contender.subjects]
    if subject.fold is None or None in folds or subject.fold in folds:
        return False
    one, other = ((_compared(member.settings), member.fingerprint) for member in (subject, contender.first))
    return one == other


def _compared(flat: dict[str, Any]) -> dict[str, Any]:
    """The keys of a configuration that make it another one."""
    dealt = ("folds",) if flat.get("fold") is not None else ()  # a fold of two is none of four
    return {key: value for key, value in flat.items() if key in dealt or not key.startswith(_NOT_COMPARED)}


def differing(found: Sequence[Contender]) -> list[str]:
    """The keys whose values differ between contenders, choices before what they bring along.

    Those whose configuration can't be read don't count.
    """
    known = [contender.first for contender in found if contender.first.config]
    keys = list(dict.fromkeys(key for subject in known for key in _compared(subject.flat)))
    different = [key for key in keys if len({repr(subject.flat.get(key)) for subject in known}) > 1]
    return sorted(different, key=lambda key: (key not in _NAME_FIRST, keys.index(key)))


def _name(found: Sequence[Contender]) -> None:
    """Names from as few keys as tell all contenders apart; the folder's where that is not enough."""
    different = differing(found)
    keys = [key for key in different if key in _NAME_FIRST]
    names = [_said(contender, keys) for contender in found]
    for key in different:
        if len(set(names)) == len(found):
            break
        longer = [_said(contender, [*keys, key]) for contender in found]
        if len(set(longer)) > len(set(names)):
            keys, names = [*keys, key], longer
    for contender, name in zip(found, names, strict=True):
        contender.name = str(contender.first.flat.get("name") or name or contender.first.run.name)
        if contender.first.leaky and "leaky" not in contender.name:
            contender.name += " (leaky)"
    for folder in (_folder, _folder_and_parent):
        given = [contender.name for contender in found]
        for contender in found:
            if given.count(contender.name) > 1:
                contender.name = folder(contender.first.run.path)


def _folder(path: Path) -> str:
    return path.name


def _folder_and_parent(path: Path) -> str:
    return f"{path.resolve().parent.name}/{path.name}"


def _said(contender: Contender, keys: Sequence[str]) -> str:
    """The chosen names as they are, other settings with their key."""
    flat = contender.first.flat
    words = [str(flat[key]) if key in _NAME_FIRST else f"{key}={flat[key]}" for key in keys if key in flat]
    return " · ".join(words)
