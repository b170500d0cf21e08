"""Prediction tables: what a run leaves behind, and what every number is computed from.

A table is a parquet file with one row an image: `id` String, `group` String or null (person, source image …),
`label` Int16 (index into the classes), `fold` Int16 or null, and one Float32 column `p/<class>` a class. The
file's metadata key `emotion` holds `{"format": 1, "classes": […], "data": …, "part": …, "run": …,
"selected_on_this_part": …}`.

A compact table, as it is kept in git, has probabilities rounded to the 11 significant bits of half precision and the
exact class of the largest one as UInt8 in a column `predicted`: rounding makes equals of neighbours, and another class
the first of them. They stay Float32, because Float16 makes 0 of what lies below 3e-8, and log loss, AUROC and
calibration live on that. Tables of Float16, which earlier versions kept, are read too.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from emotion.atomic import replacing
from emotion.errors import DataError

FORMAT = 1
METADATA_KEY = "emotion"
PREDICTED = "predicted"
HARDEST_ZSTD = 22
ROW_SUM_TOLERANCE = 1e-3  # a softmax in half precision is this far from one

Part = Literal["val", "test"]


@dataclass(frozen=True)
class Meta:
    """Where a table comes from.

    Attributes:
        data: name of the data set.
        part: `val` or `test`.
        run: name of the run folder.
        selected_on_this_part: the run's best epoch was chosen on these very images, so numbers computed from
            them are optimistic.
    """

    data: str
    part: Part
    run: str
    selected_on_this_part: bool = False


@dataclass(frozen=True, eq=False)
class Predictions:
    """A validated prediction table.

    Attributes:
        frame: the columns named in the module's docstring, in that order.
        classes: names in label order.
        meta: where the table comes from.

    Raises:
        DataError: a column is missing or of the wrong type, an id is missing or occurs twice, a label is
            outside the classes, a probability is NaN or outside [0, 1], or a row doesn't sum to one.
    """

    frame: pl.DataFrame
    classes: tuple[str, ...]
    meta: Meta

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        _check_classes(self.classes)
        if self.meta.part not in get_args(Part):
            raise DataError(f"expected the part 'val' or 'test', found {self.meta.part!r}.")
        object.__setattr__(self, "frame", _checked(self.frame, self.classes))

    def __len__(self) -> int:
        return self.frame.height

    @cached_property
    def ids(self) -> list[str]:
        return self.frame["id"].to_list()

    @cached_property
    def groups(self) -> list[str | None]:
        """The group of each image; None where it has none, and is a group of its own."""
        return self.frame["group"].to_list()

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) indices into the classes."""
        return self.frame["label"].to_numpy().astype(np.int64)

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(N, K), rows scaled to sum to one exactly, whatever precision they were computed in."""
        raw = self.frame.select(_columns(self.classes)).to_numpy().astype(np.float64)
        return raw / raw.sum(axis=1, keepdims=True)

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(N,) index of the largest probability, the first one of equals."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> npt.NDArray[np.float64]:
        """(N,) probability of the predicted class."""
        return self.probabilities.max(axis=1)

    def with_probabilities(self, probabilities: npt.ArrayLike) -> "Predictions":
        """The same images with other probabilities (N, K)."""
        values = np.asarray(probabilities, dtype=np.float32)
        columns = {name: values[:, k] for k, name in enumerate(_columns(self.classes))}
        return Predictions(self.frame.with_columns(**_series(columns)), self.classes, self.meta)

    def with_meta(self, **changes: Any) -> "Predictions":
        return Predictions(self.frame, self.classes, replace(self.meta, **changes))


def from_arrays(
    ids: Sequence[str],
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    meta: Meta,
    *,
    groups: Sequence[str | None] | None = None,
    fold: int | Sequence[int] | None = None,
) -> Predictions:
    """A table from what an evaluation loop has at its end.

    Args:
        ids: N unique sample ids.
        labels: (N,) indices into `classes`.
        probabilities: (N, K) softmax outputs (not logits).
        classes: K names in label order.
        meta: where the table comes from.
        groups: N names or None; None as a whole where the data has no groups.
        fold: the fold that validated these images, one number for all or one an image.

    Raises:
        DataError: as `Predictions`, and where the lengths differ.
    """
    label_values, values = np.asarray(labels), np.asarray(probabilities)
    folds = [fold] * len(ids) if fold is None or isinstance(fold, int) else list(fold)
    names = list(groups) if groups is not None else [None] * len(ids)
    if values.ndim != 2 or values.shape[1] != len(classes):
        raise DataError(
            f"expected probabilities of shape (N, {len(classes)}), one column a class, found {values.shape}."
        )
    lengths = {"ids": len(ids), "labels": len(label_values), "probabilities": len(values)}
    lengths |= {"groups": len(names), "fold": len(folds)}
    if len(set(lengths.values())) > 1:
        raise DataError(f"expected one value an image everywhere, found the lengths {lengths}.")
    frame = pl.DataFrame(
        {
            "id": pl.Series("id", list(ids), dtype=pl.String),
            "group": pl.Series("group", names, dtype=pl.String),
            "label": label_values,
            "fold": pl.Series("fold", folds, dtype=pl.Int16),
            **_series({name: values[:, k] for k, name in enumerate(_columns(classes))}),
        }
    )
    return Predictions(frame, tuple(classes), meta)


def write(path: str | Path, predictions: Predictions, *, compact: bool = False) -> None:
    """Write a table, atomically: the file is wholly there or not at all.

    Args:
        compact: scale rows to sum to one, round probabilities to 11 significant bits and compress hard; no
            prediction changes.
    """
    content = {"format": FORMAT, "classes": list(predictions.classes), **asdict(predictions.meta)}
    with suppress(PackageNotFoundError):  # a checkout that was never installed
        content["version"] = version("emotion")
    frame = _compact(predictions) if compact else predictions.frame
    level = HARDEST_ZSTD if compact else None
    with replacing(Path(path)) as part:
        frame.write_parquet(part, compression_level=level, metadata={METADATA_KEY: json.dumps(content)})


def _compact(predictions: Predictions) -> pl.DataFrame:
    columns = _columns(predictions.classes)
    # scaled first: a row whose sum is just allowed could be rounded to one that is refused
    values = _rounded(predictions.probabilities.astype(np.float32))
    predicted = pl.Series(PREDICTED, predictions.predicted.astype(np.uint8))
    return predictions.frame.with_columns(predicted, **_series(dict(zip(columns, values.T, strict=True))))


def _rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Float32 with the last 13 of its 23 bits of mantissa zero, to the nearest: 13 bits compress to nothing."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + (1 << 12)) & ~np.uint32((1 << 13) - 1)).view(np.float32)


def _expanded(frame: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """A compact table's columns, with the predicted class ahead of what rounding made its equals."""
    columns = _columns(classes)
    values = frame.select(pl.col(columns).cast(pl.Float32)).to_numpy().copy()
    rows, predicted = np.arange(len(values)), frame[PREDICTED].to_numpy()
    if (predicted >= len(classes)).any():
        raise DataError(f"expected predicted classes from 0 to {len(classes) - 1}, found {predicted.max()}.")
    behind = values.argmax(axis=1) != predicted
    largest = np.nextafter(values.max(axis=1), np.float32(2))
    values[rows[behind], predicted[behind]] = largest[behind]
    found = {name: values[:, k] for k, name in enumerate(columns)}
    return frame.drop(PREDICTED).with_columns(**_series(found))


def read(path: str | Path, classes: Sequence[str] | None = None) -> Predictions:
    """Read and check a table.

    Args:
        path: a file that `write` made.
        classes: the label set that is expected, if the caller has one.

    Raises:
        DataError: the file is missing, cut, of an unknown format or of another label set, or its content is
            not what `Predictions` accepts. The text names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"expected a prediction table at {path}, found none. A run writes its tables when it finishes: "
            "start the run again to complete it."
        )
    try:
        content = _content(path)
        found = tuple(str(name) for name in content["classes"])
        if classes is not None and found != tuple(classes):
            raise DataError(f"expected the label set {_listed(classes)}, found {_listed(found)}.")
        meta = Meta(
            data=str(content["data"]),
            part=content["part"],
            run=str(content["run"]),
            selected_on_this_part=bool(content["selected_on_this_part"]),
        )
        frame = _frame(path)
        return Predictions(_expanded(frame, found) if PREDICTED in frame.columns else frame, found, meta)
    except KeyError as error:
        raise DataError(f"{path}: expected {error} in the table's metadata, found no such entry.") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _content(path: Path) -> dict[str, Any]:
    try:
        metadata = pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"expected a parquet file, found one that can't be read ({error}).") from error
    if METADATA_KEY not in metadata:
        raise DataError(
            f"expected a prediction table (metadata key {METADATA_KEY!r}), found another parquet file."
        )
    try:
        content: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    except json.JSONDecodeError as error:
        raise DataError(f"expected metadata in JSON, found {metadata[METADATA_KEY]!r}.") from error
    if content.get("format") != FORMAT:
        writer = content.get("version", "in the version that wrote the file")
        raise DataError(
            f"expected format {FORMAT}, found format {content.get('format')!r}. "
            f"It needs emotion {writer} or a later one."
        )
    return content


def _frame(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"expected a whole parquet file, found one that can't be read ({error}).") from error


def _columns(classes: Sequence[str]) -> list[str]:
    return [f"p/{name}" for name in classes]


def _series(columns: dict[str, npt.NDArray[Any]]) -> dict[str, pl.Series]:
    return {name: pl.Series(name, np.ascontiguousarray(values)) for name, values in columns.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _check_classes(classes: tuple[str, ...]) -> None:
    if len(classes) < 2 or len(set(classes)) != len(classes) or not all(classes):
        raise DataError(f"expected at least two classes with different names, found {list(classes)}.")


def _checked(frame: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
    columns = _columns(classes)
    expected = ["id", "group", "label", "fold", *columns]
    if set(frame.columns) != set(expected):
        missing = [name for name in expected if name not in frame.columns]
        extra = [name for name in frame.columns if name not in expected]
        raise DataError(
            f"expected the columns {_listed(expected)}; missing: {_listed(missing) or 'none'}, "
            f"unknown: {_listed(extra) or 'none'}. Another label set has other p/<class> columns."
        )
    if not frame.height:
        raise DataError("expected at least one image, found an empty table.")
    if not frame["label"].dtype.is_integer() or not all(frame[name].dtype.is_numeric() for name in columns):
        types = {name: str(frame[name].dtype) for name in ("label", *columns)}
        raise DataError(f"expected integer labels and numeric probabilities, found {types}.")
    _check_ids(frame["id"])
    _check_labels(frame, classes)
    casts = [pl.col("id", "group").cast(pl.String), pl.col("label", "fold").cast(pl.Int16)]
    try:
        frame = frame.select(expected).with_columns(*casts, pl.col(columns).cast(pl.Float32))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"expected ids and groups as text and folds as small integers: {error}") from error
    _check_probabilities(frame, columns)
    return frame


def _check_ids(ids: pl.Series) -> None:
    if ids.null_count():
        raise DataError(f"expected an id for each image, found {ids.null_count()} without one.")
    repeated = ids.filter(ids.is_duplicated()).unique(maintain_order=True)
    if len(repeated):
        raise DataError(
            f"expected each id once, found {len(repeated)} that occur again, such as {repeated[0]!r}."
        )


def _check_labels(frame: pl.DataFrame, classes: tuple[str, ...]) -> None:
    bad = frame.filter(pl.col("label").is_null() | ~pl.col("label").is_between(0, len(classes) - 1))
    if bad.height:
        raise DataError(
            f"expected labels from 0 to {len(classes) - 1} ({_listed(classes)}), found {bad.height} others, "
            f"such as {bad['label'][0]} for the image {bad['id'][0]!r}."
        )


def probability_fault(values: npt.NDArray[Any]) -> tuple[int, str] | None:
    """What is wrong with probabilities (N, K): the first bad row and a sentence; None if they are sound."""
    off_sum = np.abs(values.sum(axis=1, dtype=np.float64) - 1)
    outside = (values < 0) | (values > 1 + ROW_SUM_TOLERANCE)
    for bad, expected, found in (
        (~np.isfinite(values).all(axis=1), "finite probabilities", "NaN or infinity (the training diverged)"),
        (outside.any(axis=1), "probabilities within [0, 1]", "others (logits need a softmax)"),
        (off_sum > ROW_SUM_TOLERANCE, f"rows that sum to 1 ± {ROW_SUM_TOLERANCE:g}", "others"),
    ):
        if bad.any():
            row = int(bad.argmax())
            example = ", ".join(f"{p:.4g}" for p in values[row])
            return row, (
                f"expected {expected}, found {found} in {int(bad.sum())} of {len(values)} images, "
                f"such as [{example}]"
            )
    return None


def _check_probabilities(frame: pl.DataFrame, columns: list[str]) -> None:
    fault = probability_fault(frame.select(columns).to_numpy())
    if fault:
        row, sentence = fault
        raise DataError(f"{sentence} for the image {frame['id'][row]!r}.")
