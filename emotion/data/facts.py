"""What is known of a data set before it is opened: for data cards, and to tell whether a download is complete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

WHOLE = "all"  # the part of a data set that was published without a split


@dataclass(frozen=True)
class Facts:
    """One data set, as its authors describe it and as its files were counted.

    Attributes:
        title: its name in prose.
        citation: authors, title, where and when.
        licence: what one may do with it; never legal advice.
        source: where to get it, as a sentence that can end a message.
        layouts: the forms on disk that the reader recognises.
        classes: the names that `counts` are in the order of.
        counts: published images a class: by form or variant ("" where there is one), then by part (train, val, test,
            or `WHOLE`).
        crop: which part of the picture is the sample.
        group: what must not be on both sides of a split.
        cautions: what whoever reads a result must know.
        counted: what was found in the real files, for the data card; with how and when where that matters.
    """

    title: str
    citation: str
    licence: str
    source: str
    layouts: tuple[str, ...]
    classes: tuple[str, ...] = ()
    counts: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    crop: str = "the whole picture"
    group: str = "none known"
    cautions: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()

    def expected(self, form: str, classes: Sequence[str]) -> dict[tuple[str, str], int]:
        """Published images by (part, class), of the classes asked for that were counted."""
        return {
            (part, name): n
            for part, counts in self.counts.get(form, {}).items()
            for name, n in zip(self.classes, counts, strict=True)
            if name in classes
        }


def count_notes(
    facts: Facts, form: str, frame: pl.DataFrame, classes: Sequence[str], rejected: int
) -> tuple[str, ...]:
    """A sentence where a table hasn't the published number of images of each class and part.

    Args:
        form: key of `facts.counts`; nothing is said where it has none.
        frame: columns label and split.
        classes: what the labels mean.
        rejected: number of rows left out, which may explain missing ones.
    """
    expected = facts.expected(form, classes)
    if not expected:
        return ()
    parts = {part for part, _ in expected}
    counted: dict[tuple[str, str], int] = {}
    for split, label, n in frame.group_by("split", "label").len().iter_rows():
        key = (WHOLE if parts == {WHOLE} else split or WHOLE, classes[label])
        counted[key] = counted.get(key, 0) + n
    if WHOLE not in parts and any(part == WHOLE for part, _ in counted):  # pooled: compare the sums
        expected = _pooled(expected)
    wrong = [(key, n, counted.get(key, 0)) for key, n in expected.items() if counted.get(key, 0) != n]
    if not wrong:
        return ()
    (part, name), published, found = max(wrong, key=lambda item: abs(item[1] - item[2]))
    where = name if part == WHOLE else f"{name} in {part}"
    left_out = f" (rows left out: {rejected:,})" if rejected else ""
    total, here = sum(expected.values()), sum(counted.get(key, 0) for key in expected)
    return (
        f"not the published counts: {here:,} images found, {total:,} published{left_out}; the largest difference "
        f"is {where}: {found:,} instead of {published:,}.",
    )


def _pooled(counts: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    pooled: dict[tuple[str, str], int] = {}
    for (_, name), n in counts.items():
        pooled[WHOLE, name] = pooled.get((WHOLE, name), 0) + n
    return pooled
