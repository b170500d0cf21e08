"""`data=csv`: any pictures listed in a csv file, its columns named by the configuration."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from emotion.data.collector import Collector, Sample
from emotion.data.facts import Facts
from emotion.data.layout import (
    FilesBelow,
    existing_root,
    file_names,
    folders_digest,
    leaves_root,
    listing,
    part_of,
    tree_digest,
)
from emotion.data.preparation import Box
from emotion.data.splits import clusters
from emotion.data.table import SampleTable
from emotion.data.textrows import real_number, split_quoted, text_lines, whole_number
from emotion.errors import ConfigError, DataError, LayoutError
from emotion.labels import EXPRESSIONS, expression

NATURAL_SIZE_PX = 96
CHANNELS = 3
_REVISION = "2"  # 2: labels from 1 are refused, persons chain pictures

FACTS = Facts(
    title="Pictures listed in a csv file",
    citation="none: these are your own pictures",
    licence="whatever their owner allows",
    source="a table has a line of column names and a line a picture: path,label.",
    layouts=("one .csv file; paths in it are relative to its folder",),
    crop="the box columns, or the whole picture",
    group="the group column; with boxes, the picture too",
)
_EXPECTED = "a csv file with a line a picture (data.path and data.label name its columns)"
_SEPARATORS = (",", ";", "\t")
_MAX_UNKNOWN = 0.05


class Columns(NamedTuple):
    """Which columns hold what; None where the table doesn't have it."""

    path: str
    label: str | None
    split: str | None
    group: str | None
    box: tuple[str, ...]
    votes: tuple[str, ...]


def signature(root: Path | None, path: str = "path", **options: object) -> str:
    """A cheap digest of what `read` would read: of the pictures only the names count."""
    table = _table_file(root)
    named = "-".join(f"{name}={value}" for name, value in sorted({"path": path, **options}.items()))
    return (
        f"csv-{_REVISION}-{named}-{tree_digest(table)}-{folders_digest(table.parent, _folders(table, path))}"
    )


def distinguish(root: Path) -> None:
    """
    Raises:
        LayoutError: it is a text, but no table with the columns path and label.
    """
    _opened(_table_file(root), ("path", "label"))


def read(
    root: Path | None,
    path: str = "path",
    label: str | None = "label",
    split: str | None = None,
    group: str | None = None,
    box: Sequence[str] | None = None,
    votes: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> SampleTable:
    """The table of pictures that a csv lists, one line a picture or face.

    Args:
        root: the csv file, or a folder with exactly one.
        path: column of the picture's path, relative to the csv's folder.
        label: column of the label: an expression by any of its names, one of `class_names`, or with them a number
            from 0. None where `votes` are given.
        split: column of train, val or test.
        group: column of what must stay together: a person, a source picture.
        box: columns of the face box: x, y, width, height in pixels. The faces of a picture stay together, with those
            of every person in it.
        votes: a column of counts or shares for each class; the targets, and without `label` the label too.
        class_names: the classes in order; None: the expressions that occur.

    Raises:
        ConfigError: the options contradict each other.
        DataError: columns are missing, labels are numbered from 1, or most rows are broken.
    """
    columns = Columns(path, label, split, group, tuple(box or ()), tuple(votes or ()))
    _check(columns, class_names)
    table = _table_file(root)
    wanted = [name for name in (path, label, split, group, *columns.box, *columns.votes) if name is not None]
    names, separator, lines = _opened(table, wanted)
    body = [(n, split_quoted(line, separator)) for n, line in lines]
    if not body:
        raise DataError(f"expected a line for each picture below the first of {table}, found none.")
    cells = [(n, dict(zip(names, row, strict=True)) if len(row) == len(names) else None) for n, row in body]
    classes = _classes(columns, class_names, [row for _, row in cells if row is not None], table)
    if class_names and label is not None:
        _refuse_labels_from_1([row[label] for _, row in cells if row is not None], len(classes), label, table)
    rows = Collector("csv", classes, table)
    files = FilesBelow(table.parent)
    for number, row in cells:
        where = f"{table.name}:{number}"
        if row is None:
            rows.reject(where, "broken row", f"expected {len(names)} cells")
        else:
            _read_row(rows, files, columns, where, row, by_number=class_names is not None)
    if columns.box:
        _join_groups(rows)
    return rows.table(table.parent, CHANNELS, FACTS)


def _folders(table: Path, path: str) -> list[str]:
    """The folders that the column `path` names, none where there is no such column.

    By polars rather than row by row, because each start waits for it: 0.7 s for 500,000 rows.
    """
    try:
        names, separator, lines = _opened(table, (path,))
    except LayoutError:  # `read` says so
        return []
    letter = '(?:[^"]|"")'  # of a quoted cell
    cell = f' *"{letter}*"[^{separator}]*|[^{separator}]*'
    start = f' *"{letter}*/| *"{letter}|[^"{separator}][^{separator}]*/|[^"{separator}]'  # to the last slash
    starts = pl.Series([line for _, line in lines], dtype=pl.String).str.extract(
        f"^(?:(?:{cell}){separator}){{{names.index(path)}}}({start})"
    )
    paths = starts.drop_nulls().unique().str.replace('^ *"?', "").str.replace_all('""', '"', literal=True)
    folders = paths.str.strip_chars_start().str.extract("^(.*)/").fill_null("").unique().sort()
    return [folder for folder in folders if not leaves_root(folder)]


def _opened(table: Path, wanted: Sequence[str]) -> tuple[list[str], str, Iterator[tuple[int, str]]]:
    """The names of the columns, what separates cells, and the lines below.

    Raises:
        LayoutError: a column that is wanted isn't there, or is there twice.
    """
    lines = text_lines(table)
    _, header = next(lines, (0, ""))
    separator = max(_SEPARATORS, key=header.count)
    names = [cell.strip() for cell in split_quoted(header, separator)]
    missing = [name for name in wanted if names.count(name) != 1]
    if missing:
        raise LayoutError(
            f"expected the columns {', '.join(wanted)} once each in {table}; not so: {', '.join(missing)}; the file's "
            f"first line is {header[:200]!r}. Name its columns with data.path=…, data.label=… and so on."
        )
    return names, separator, lines


def _check(columns: Columns, class_names: Sequence[str] | None) -> None:
    if columns.box and len(columns.box) != 4:
        raise ConfigError(
            f"data.box: expected four columns (x, y, width, height), found {list(columns.box)}."
        )
    if columns.label is None and not columns.votes:
        raise ConfigError("data.label: expected the label's column, or data.votes; found null.")
    if class_names and columns.votes and len(class_names) != len(columns.votes):
        raise ConfigError(
            f"data.votes: expected a column for each of the {len(class_names)} class_names, found {len(columns.votes)}."
        )


def _table_file(root: Path | None) -> Path:
    place = existing_root(root, _EXPECTED)
    if place.is_file():
        return place
    found = [name for name in file_names(place) if name.lower().endswith((".csv", ".tsv"))]
    if len(found) != 1:
        raise LayoutError(
            f"expected {_EXPECTED}; {place} holds {listing(place)}, {len(found)} of them csv files. Point data.root at "
            "one."
        )
    return place / found[0]


def _classes(
    columns: Columns, given: Sequence[str] | None, rows: list[dict[str, str]], table: Path
) -> tuple[str, ...]:
    names = tuple(given) if given else columns.votes
    if names:
        classes = tuple(expression(name) or name for name in names)
        if len(set(classes)) < len(classes):
            raise ConfigError(f"data.class_names: expected names that differ, found {', '.join(names)}.")
        return classes
    assert columns.label is not None
    labels = [row[columns.label] for row in rows]
    meant = [expression(label) for label in labels]
    unknown = [label for label, expression in zip(labels, meant, strict=True) if expression is None]
    if len(unknown) > _MAX_UNKNOWN * len(labels) or not labels:
        raise DataError(
            f"expected names of expressions in the column {columns.label} of {table}, found {len(unknown):,} of "
            f"{len(labels):,} that are none, as {sorted(set(unknown))[:8]}. Set data.class_names to the classes in "
            "the order of their numbers."
        )
    return tuple(name for name in EXPRESSIONS if name in meant)


def _read_row(
    rows: Collector, files: FilesBelow, columns: Columns, where: str, row: dict[str, str], by_number: bool
) -> None:
    path = row[columns.path].strip()
    votes = [real_number(row[name]) for name in columns.votes]
    shares = _shares(votes)
    split = part_of(row[columns.split]) if columns.split else None
    box, face = _box([row[name] for name in columns.box])
    if columns.label is None:
        label = shares.index(max(shares)) if shares and shares.count(max(shares)) == 1 else None
    else:
        label = _label(row[columns.label], rows.classes, by_number)
    if columns.votes and shares is None:
        rows.reject(path or where, "broken votes", f"{where}: {[row[name] for name in columns.votes]}")
    elif label is None:
        found = row[columns.label] if columns.label else "equal votes"
        rows.reject(path or where, "unknown label", f"{where}: {found!r}")
    elif columns.split and split is None:
        detail = f"{where}: {row[columns.split]!r}, expected train, val or test"
        rows.reject(path or where, "unknown split", detail)
    elif columns.box and box is None:
        rows.reject(path or where, "no face box", f"{where}: {[row[name] for name in columns.box]}")
    elif problem := files.problem(path):
        rows.reject(path or where, problem[0], f"{where}: {problem[1]}")
    else:
        group = row[columns.group].strip() or None if columns.group else None
        rows.add(Sample(path + face, label, path, split, group, box, shares))


def _refuse_labels_from_1(labels: list[str], count: int, column: str, table: Path) -> None:
    """
    Raises:
        DataError: the numbers can't be of `count` classes that are counted from 0, but of as many from 1.
    """
    numbers = {number for number in map(whole_number, labels) if number is not None}
    if numbers and 0 not in numbers and max(numbers) == count:
        raise DataError(
            f"expected the numbers 0 to {count - 1} of the {count} data.class_names in the column {column} of {table}, "
            f"found 1 to {count}. Take 1 from each of them, or write the classes' names there."
        )


def _join_groups(rows: Collector) -> None:
    """One group for all faces that a chain of persons and pictures joins: neither may be parted."""
    samples = rows.samples
    columns = {"group": [s.group for s in samples], "digest": [s.path for s in samples]}
    joined = clusters(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)))
    names: dict[int, tuple[bool, str]] = {}  # a person where there is one, the first by name
    for cluster, sample in zip(joined, samples, strict=True):
        name = (sample.group is None, sample.group or sample.path)
        names[cluster] = min(name, names.get(cluster, name))
    rows.samples = [s._replace(group=names[cluster][1]) for cluster, s in zip(joined, samples, strict=True)]


def _label(text: str, classes: tuple[str, ...], by_number: bool) -> int | None:
    """The class that a cell names, by its number only where the classes' order was given."""
    number = whole_number(text)
    if number is not None:
        return number if by_number and 0 <= number < len(classes) else None
    name = expression(text) or text.strip()
    return classes.index(name) if name in classes else None


def _shares(votes: list[float | None]) -> list[float] | None:
    counts = [vote for vote in votes if vote is not None and vote >= 0]
    total = sum(counts)
    return [count / total for count in counts] if len(counts) == len(votes) and total > 0 else None


def _box(cells: list[str]) -> tuple[Box | None, str]:
    """The face box, and what it adds to the sample's id; None where it is no box."""
    numbers = [number for number in map(real_number, cells) if number is not None]
    if len(numbers) != 4:
        return None, ""
    x, y, width, height = numbers
    if width <= 0 or height <= 0 or x + width <= 0 or y + height <= 0:
        return None, ""
    return (x, y, width, height), "#" + ",".join(f"{number:g}" for number in numbers)
