"""Expression names and label spaces: one canonical spelling, what the data sets call them, and maps by name.

Data sets number their classes in different orders, and some of them start at 1. So no number ever travels from one set
to another: a `ClassMap` is made from names.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emotion.errors import DataError

EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")

_ALIASES = {
    "neutral": ("neutrality", "ne", "normal"),
    "happiness": ("happy", "ha", "joy"),
    "sadness": ("sad", "sa"),
    "surprise": ("surprised", "su", "suprise"),
    "fear": ("afraid", "fearful", "fe", "scared"),
    "disgust": ("disgusted", "di"),
    "anger": ("angry", "an", "mad"),
    "contempt": ("contemptuous", "co"),
}
_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}


def canonical(name: str) -> str:
    """The canonical expression that a data set's label name means.

    >>> canonical(" Angry ")
    'anger'

    Raises:
        DataError: the name is no expression; the text offers the nearest one.
    """
    key = name.strip().lower()
    if key in _CANONICAL:
        return _CANONICAL[key]
    near = difflib.get_close_matches(key, _CANONICAL, n=1)
    hint = f"; the nearest known name is {near[0]!r}" if near else ""
    raise DataError(f"expected an expression ({', '.join(EXPRESSIONS)}), found the label {name!r}{hint}.")


def expression(name: str) -> str | None:
    """As `canonical`; None where the name is no expression."""
    return _CANONICAL.get(name.strip().lower())


def label_of(name: str, classes: Sequence[str]) -> int | None:
    """The place in `classes` of the expression that a name means; None where there is no such."""
    found = expression(name)
    return classes.index(found) if found in classes else None


@dataclass(frozen=True)
class ClassMap:
    """From a label space to a smaller one, of which each class takes one or several of the old ones.

    Attributes:
        classes: the new names, in order.
        targets: for each old class the index of the new one, -1 where it is left out.
    """

    classes: tuple[str, ...]
    targets: tuple[int, ...]

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """(N,) int64 of old labels (N,); -1 where the class is left out."""
        return np.array(self.targets, np.int64)[labels]

    def probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """(N, K') of (N, K): probabilities or soft labels, summed where classes are merged, rows rescaled to 1.

        What a row gives to the classes that are left out is its certainty that the image is none of the others; where
        that is all it has, nothing is known, and all new classes get the same.
        """
        merged = np.zeros((len(probabilities), len(self.classes)))
        for old, new in enumerate(self.targets):
            if new >= 0:
                merged[:, new] += probabilities[:, old]
        total = merged.sum(axis=1, keepdims=True)
        even = np.full_like(merged, 1 / len(self.classes))
        return np.divide(merged, total, out=even, where=total > 0)

    @property
    def left_out(self) -> tuple[int, ...]:
        """The old classes that have no new one."""
        return tuple(old for old, new in enumerate(self.targets) if new < 0)


def choose(own: Sequence[str], wanted: Sequence[str] | Mapping[str, Sequence[str]]) -> ClassMap:
    """The map that picks classes, or merges them under new names.

    >>> choose(["anger", "neutral", "happiness"], ["happy", "anger"])
    ClassMap(classes=('happiness', 'anger'), targets=(1, -1, 0))
    >>> choose(["anger", "fear", "happiness"], {"negative": ["anger", "fear"], "positive": ["happiness"]}).targets
    (0, 0, 1)

    Args:
        own: the classes of the data, in label order.
        wanted: names of classes to keep, in the new order; or for each new class the names that it takes. A name may
            be any that the data sets use for the expression.

    Raises:
        DataError: a name is none of the data's classes or is taken twice, or fewer than two classes are left.
    """
    groups = wanted if isinstance(wanted, Mapping) else {name: [name] for name in wanted}
    known = {_key(name): index for index, name in enumerate(own)}
    targets = [-1] * len(own)
    for new, (title, names) in enumerate(groups.items()):
        for name in names:
            index = known.get(_key(name))
            if index is None:
                near = difflib.get_close_matches(name, own, n=1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise DataError(
                    f"data.classes: expected classes of this data ({', '.join(own)}), found {name!r}{hint}"
                )
            if targets[index] >= 0:
                raise DataError(
                    f"data.classes: expected each class once, found {own[index]} again in {title!r}."
                )
            targets[index] = new
        if not names:
            raise DataError(f"data.classes: expected the classes that {title!r} takes, found none.")
    if len(groups) < 2:
        raise DataError(f"data.classes: expected at least two classes, found {', '.join(groups) or 'none'}.")
    if isinstance(wanted, Mapping):
        return ClassMap(tuple(wanted), tuple(targets))
    order = sorted((new, old) for old, new in enumerate(targets) if new >= 0)
    return ClassMap(tuple(own[old] for _, old in order), tuple(targets))


def shared(first: Sequence[str], second: Sequence[str]) -> tuple[ClassMap, ClassMap]:
    """The maps of two label spaces to the classes that both have, in the first one's order.

    >>> [m.classes for m in shared(["anger", "fear", "happiness"], ["happy", "contempt", "angry"])]
    [('anger', 'happiness'), ('anger', 'happiness')]

    Raises:
        DataError: they share fewer than two.
    """
    there = {_key(name): index for index, name in enumerate(second)}
    common = [name for name in first if _key(name) in there]
    if len(common) < 2:
        raise DataError(
            f"expected label spaces that share at least two classes; {', '.join(first)} and {', '.join(second)} share "
            f"{common[0] if common else 'none'}. data.classes={{new: [old, …]}} gives classes other names."
        )
    place = {_key(name): index for index, name in enumerate(common)}
    names = tuple(common)
    return (
        ClassMap(names, tuple(place.get(_key(name), -1) for name in first)),
        ClassMap(names, tuple(place.get(_key(name), -1) for name in second)),
    )


def _key(name: str) -> str:
    """What a name is compared by: the expression that it means, or itself where it means none."""
    key = name.strip().lower()
    return _CANONICAL.get(key, key)
