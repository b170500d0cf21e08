"""FER2013's csv files: `fer2013.csv`, `icml_face_data.csv` (names with a leading space) and `train.csv`."""

from pathlib import Path

import numpy as np
import polars as pl

from emotion.data.images import ImageArray
from emotion.data.readers.fer2013_facts import CLASSES, USAGE, describe_parts
from emotion.data.table import SampleTable, rejections
from emotion.data.textrows import split_quoted, text_lines
from emotion.errors import DataError, LayoutError

# In the order of preference: a competition download holds several, and the first two name the parts.
FILE_NAMES = ("fer2013.csv", "icml_face_data.csv", "train.csv")

EDGE_PX = 48
_PIXELS = EDGE_PX**2
_MAX_BAD_SHARE = 0.05
_ROWS_AT_ONCE = 1000  # the text of a pixel takes 20 times the memory of the pixel while it is parsed


def read(path: Path) -> SampleTable:
    """The table of a csv with the columns emotion, pixels and, unless it is the train part alone, Usage.

    Raises:
        DataError: columns are missing, or more than a twentieth of the rows is broken.
    """
    rows = _rows(path)
    images, whole = _parse(rows["pixels"])
    rows = rows.with_columns(
        code=pl.col("emotion").str.strip_chars().cast(pl.Int64, strict=False),
        part=pl.col("usage").str.strip_chars().str.to_lowercase().replace_strict(USAGE, default=None),
        whole=pl.Series(whole),
    )
    reason = (
        pl.when(pl.col("code").is_null() | ~pl.col("code").is_between(0, len(CLASSES) - 1))
        .then(pl.lit("unknown emotion code"))
        .when(pl.col("usage").is_not_null() & pl.col("part").is_null())
        .then(pl.lit("unknown Usage"))
        .when(~pl.col("whole"))
        .then(pl.lit("broken pixels"))
    )
    rows = rows.with_columns(reason=reason)
    bad = rows.filter(pl.col("reason").is_not_null())
    rejected = [_rejection(row) for row in bad.iter_rows(named=True)]
    if len(rejected) > _MAX_BAD_SHARE * rows.height:
        raise DataError(_too_many(path, rows.height, rejected))
    kept = rows.filter(pl.col("reason").is_null())
    frame = kept.select(
        id=pl.format("row-{}", pl.col("row").cast(pl.String).str.zfill(5)),
        label="code",
        split="part",
        group=pl.lit(None, dtype=pl.String),
    )
    notes, official = describe_parts(frame, frame["split"].null_count() == 0, len(rejected))
    return SampleTable(
        name="fer2013",
        classes=CLASSES,
        frame=frame,
        source=ImageArray(images[rows["reason"].is_null().to_numpy()]),
        rejected=rejections(rejected),
        notes=tuple(notes),
        official=official,
    )


def distinguish(path: Path) -> None:
    """
    Raises:
        LayoutError: it is a csv of other columns.
    """
    _, header = next(text_lines(path), (0, ""))
    if not {"emotion", "pixels"} <= {name.strip().lower() for name in split_quoted(header)}:
        raise LayoutError(
            f"expected the columns emotion, pixels and Usage in {path}, found {header[:200]!r}."
        )


def _rows(path: Path) -> pl.DataFrame:
    """The file's rows as text: row (from 1), emotion, pixels, usage (null where the file has no such column)."""
    try:
        frame = pl.read_csv(
            path, glob=False, infer_schema=False, encoding="utf8-lossy", truncate_ragged_lines=True
        )
    except pl.exceptions.NoDataError:
        raise DataError(f"expected a FER2013 csv, found an empty file: {path}. Download it again.") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"the csv {path} can't be read: {error}. Download it again.") from error
    names = {name: name.strip().lower() for name in frame.columns}
    frame = frame.rename(names) if len(set(names.values())) == len(names) else frame
    missing = [name for name in ("emotion", "pixels") if name not in frame.columns]
    if missing:
        hint = (
            " It is the competition's unlabelled test part: use its fer2013.csv."
            if "pixels" not in missing
            else ""
        )
        raise DataError(
            f"expected the columns emotion, pixels and Usage in {path}; found {', '.join(names)[:200]}.{hint}"
        )
    written = (pl.col("emotion").str.strip_chars().fill_null("") != "") | pl.col("pixels").is_not_null()
    last = frame.select(written.arg_true().max()).item()
    frame = frame.head(0 if last is None else last + 1)  # blank lines at the end are no rows
    if frame.height == 0:
        raise DataError(f"expected 35,887 rows in {path}, found none. Download it again.")
    usage = (
        pl.col("usage").fill_null("")
        if "usage" in frame.columns
        else pl.lit(None, dtype=pl.String).alias("usage")
    )
    return frame.select("emotion", "pixels", usage).with_row_index("row", offset=1)


def _parse(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 48, 48) uint8, and which of them are whole: 2,304 numbers from 0 to 255."""
    images = np.zeros((len(texts), _PIXELS), np.uint8)
    whole = np.zeros(len(texts), bool)
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        numbers = texts.slice(start, _ROWS_AT_ONCE).str.strip_chars().str.split(" ")
        good = (numbers.list.len() == _PIXELS).fill_null(False)
        values = numbers.filter(good).explode().cast(pl.UInt8, strict=False)
        block = values.fill_null(0).to_numpy().reshape(-1, _PIXELS)
        valid = values.is_not_null().to_numpy().reshape(-1, _PIXELS).all(axis=1)
        at = start + np.flatnonzero(good.to_numpy())[valid]
        images[at] = block[valid]
        whole[at] = True
    return images.reshape(-1, EDGE_PX, EDGE_PX), whole


def _rejection(row: dict[str, object]) -> tuple[str, str, str]:
    number = int(str(row["row"]))
    where = f"row {number} (line {number + 1})"
    text = str(row["pixels"] or "").split()
    details = {
        "unknown emotion code": f"emotion is {row['emotion']!r}, expected 0 to {len(CLASSES) - 1}",
        "unknown Usage": f"Usage is {row['usage']!r}, expected Training, PublicTest or PrivateTest",
        "broken pixels": f"{len(text):,} pixels, expected {_PIXELS:,}"
        if len(text) != _PIXELS
        else "pixels that are no whole numbers from 0 to 255",
    }
    reason = str(row["reason"])
    return f"row-{number:05d}", reason, f"{where}: {details[reason]}"


def _too_many(path: Path, total: int, rejected: list[tuple[str, str, str]]) -> str:
    counts: dict[str, int] = {}
    for _, reason, _ in rejected:
        counts[reason] = counts.get(reason, 0) + 1
    summary = ", ".join(f"{n:,} × {reason}" for reason, n in counts.items())
    return (
        f"expected a FER2013 csv, found {len(rejected):,} of {total:,} rows of {path} broken: {summary}; "
        f"the first is {rejected[0][2]}. Download the file again."
    )
