"""Label files, a line at a time: a broken line spoils itself and never its neighbours."""

import csv
from collections.abc import Iterator
from pathlib import Path

from emotion.errors import DataError

_MAX_LINE = 1 << 20  # characters; a line of a label file has a thousand
_BINARY = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a rar archive",
    b"7z\xbc\xaf": "a 7z archive",
}
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def text_lines(path: Path, blank: bool = False) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line that isn't blank; of every line with `blank`, where places count.

    UTF-8, or UTF-16 with its mark. What is not UTF-8 becomes U+FFFD, so that one bad byte costs one row.

    Raises:
        DataError: the file can't be read or is no text.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        for magic, what in _BINARY.items():
            if start.startswith(magic):
                raise DataError(f"expected a text file, found {what}: {path}. Unpack it first.")
        encoding = next((e for mark, e in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8")
        if encoding != "utf-16" and start.count(b"\0") > len(start) / 4:
            raise DataError(
                f"expected a text file in UTF-8, found another encoding or no text: {path}. Convert it."
            )
        with path.open(encoding=encoding, errors="replace") as text:
            number = 0
            while line := text.readline(_MAX_LINE):
                if len(line) == _MAX_LINE:
                    raise DataError(
                        f"expected lines of text in {path}, found one of over {_MAX_LINE:,} characters."
                    )
                number += 1
                line = line.rstrip("\n")
                if blank or (line and not line.isspace()):
                    yield number, line
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} can't be read: {why}. Check its permissions, or download it again."
        ) from error


def split_quoted(line: str, separator: str = ",") -> list[str]:
    """The fields of a csv line, quotes removed; an open quote ends with the line."""
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []


def whole_number(text: str) -> int | None:
    """The integer that a cell holds, "3" or "3.0"; None where it holds none."""
    number = real_number(text)
    return int(number) if number is not None and number.is_integer() else None


def real_number(text: str) -> float | None:
    """The finite number that a cell holds; None where it holds none.

    >>> real_number(" 1e3"), real_number("nan"), real_number("1_000")
    (1000.0, None, None)
    """
    if "_" in text:  # Python's own spelling, in no data set
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None
