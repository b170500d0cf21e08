"""What a configuration makes of a store before it is split: classes picked, images left out, twins tied."""

import hashlib
import json
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emotion import labels
from emotion.data import duplicates
from emotion.data.leaky import original
from emotion.data.store import Store
from emotion.data.table import rejections
from emotion.errors import DataError
from emotion.schema.data import DataConfig

log = logging.getLogger(__name__)


class SelectedStore(Store):
    """Some of a store's images, with the labels and links that a configuration gives them.

    Row numbers are this selection's own. `frame` has a further column `cluster` where near duplicates are tied.

    Args:
        store: the whole.
        frame: as the store's, labels changed, with the column `row` of the store's rows.
        classes: that the labels are of.
        rejected: of the store, and what the selection leaves out.
        notes: of the store, and what is to be said about the selection.
        facts: plain values for splits.json.
    """

    def __init__(
        self,
        store: Store,
        frame: pl.DataFrame,
        classes: tuple[str, ...],
        rejected: pl.DataFrame,
        notes: tuple[str, ...],
        facts: dict[str, Any],
    ) -> None:
        self.path = store.path
        self.whole = store
        self._arguments = (store, frame, classes, rejected, notes, facts)
        self._rows = frame["row"].to_numpy()
        self._frame = frame.drop("row")
        self._rejected = rejected
        self.selection = facts
        self.manifest = {
            **store.manifest,
            "classes": list(classes),
            "count": frame.height,
            "notes": list(notes),
            "fingerprint": _fingerprint(store.fingerprint, classes, self._frame),
        }
        # A view of the map, not a copy of the pixels.
        self.images = _Rows(store.images, self._rows)  # type: ignore[assignment]
        self.labels = self._column("label")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    @property
    def frame(self) -> pl.DataFrame:
        return self._frame

    @cached_property
    def targets(self) -> np.ndarray | None:
        if "target" not in self._frame.columns:
            return None
        rows: np.ndarray = self._frame["target"].explode().to_numpy()
        return rows.reshape(len(self), len(self.classes))

    @property
    def rejected(self) -> pl.DataFrame:
        return self._rejected

    def _column(self, name: str) -> np.ndarray:
        return self._frame[name].to_numpy()

    def verify(self) -> None:
        self.whole.verify()


class _Rows:
    """Images (N, H, W, C) by the selection's row numbers."""

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        self._images = images
        self._rows = rows
        self.shape = (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self._images[self._rows[rows]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def select(store: Store, data: DataConfig) -> Store:
    """The store itself where the configuration asks for nothing else, or a selection of it.

    Raises:
        DataError: `data.classes` or `data.exclude` don't fit this data, or nothing is left.
    """
    wanted = data.wanted_classes()
    if wanted is None and data.exclude is None and data.group_by is None:
        return store
    frame = store.frame.with_row_index("row")
    facts: dict[str, Any] = {}
    notes, rejected = [*store.notes], [store.rejected]
    if data.group_by == "duplicate":
        frame, said = _tied(store, frame)
        notes.append(said)
        facts["group_by"] = "duplicate"
    if data.exclude is not None:
        ids = excluded_ids(data.exclude)
        named = pl.Series(ids, dtype=pl.String).implode()
        here = int(frame["id"].is_in(named).sum())
        if ids and not here:
            raise DataError(
                f"data.exclude: expected ids of {store.name} in {data.exclude}, found {len(ids):,} of which none is "
                f"there; an id of this data is {frame['id'][0]!r}. The file is of other data, or another form of it."
            )
        # a copy goes with its original (data.protocol=leaky), and may be named alone
        leaves = pl.col("id").is_in(named) | original(pl.col("id")).is_in(named)
        out = frame.filter(leaves)
        frame = frame.filter(~leaves)
        rejected.append(rejections((i, "excluded", f"named in {data.exclude.name}") for i in out["id"]))
        elsewhere = (
            f" ({len(ids) - here:,} more ids of that file are not in this data)" if len(ids) > here else ""
        )
        notes.append(
            f"{data.exclude.name} leaves out {out.height:,} of {store.frame.height:,} images{elsewhere}."
        )
        facts["exclude"] = {
            "file": data.exclude.name,
            "images": out.height,
            "unknown_ids": len(ids) - here,
        }
    classes = store.classes
    if wanted is not None:
        chosen = labels.choose(classes, wanted)
        frame = frame.with_columns(label=pl.Series(chosen.labels(frame["label"].to_numpy()), dtype=pl.Int64))
        left = frame.filter(pl.col("label") < 0)
        own = store.labels[left["row"].to_numpy()]
        rejected.append(
            rejections((i, "class not chosen", classes[k]) for i, k in zip(left["id"], own, strict=True))
        )
        frame = frame.filter(pl.col("label") >= 0)
        if "target" in frame.columns:
            soft = chosen.probabilities(np.array(frame["target"].to_list()))
            frame = frame.with_columns(target=pl.Series(soft.tolist(), dtype=pl.List(pl.Float32)))
        taken = {
            new: [classes[old] for old, to in enumerate(chosen.targets) if to == index]
            for index, new in enumerate(chosen.classes)
        }
        facts["classes"] = {"taken": taken, "left_out": [classes[old] for old in chosen.left_out]}
        classes = chosen.classes
    if not frame.height:
        raise DataError("data.exclude and data.classes leave no image.")
    return SelectedStore(store, frame, classes, pl.concat(rejected), tuple(notes), facts)


def excluded_ids(path: Path) -> list[str]:
    """The ids that a csv names: all of its column `id`, or where it has a column `exclude`, those with a true there.

    Raises:
        DataError: the file can't be read, or has no such column.
    """
    try:
        table = pl.read_csv(path, infer_schema=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"data.exclude: expected a csv file, but {path} can't be read: {error}.") from error
    if "id" not in table.columns:
        raise DataError(
            f"data.exclude: expected a column `id` in {path}, found {', '.join(table.columns)}. `emotion data audit` "
            "writes such a file."
        )
    if "exclude" in table.columns:
        words = table["exclude"].str.strip_chars().str.to_lowercase().fill_null("")
        odd = words.filter(~words.is_in(["true", "false", "1", "0", "yes", "no", ""]))
        if len(odd):
            raise DataError(
                f"data.exclude: expected true or false in the column `exclude` of {path}, found {odd[0]!r}."
            )
        table = table.filter(words.is_in(["true", "1", "yes"]))
    return table["id"].drop_nulls().unique(maintain_order=True).to_list()


def _tied(store: Store, frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The frame with the column `cluster`: the first id of each cluster of duplicates, null for images without one."""
    found = duplicates.of_store(store)
    tied = found.sizes > 1
    names = frame["id"].gather(found.clusters)
    frame = frame.with_columns(cluster=pl.when(pl.Series(tied)).then(names))
    count = len(np.unique(found.clusters[tied]))
    said = f"{int(tied.sum()):,} images are tied into {count:,} clusters of duplicates (data.group_by=duplicate)."
    if found.largest > duplicates.LARGE_CLUSTER:
        said += f" The largest has {found.largest} images: look at it with `emotion data audit` first."
        log.warning(said)
    return frame, said


def _fingerprint(whole: str, classes: tuple[str, ...], frame: pl.DataFrame) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([whole, list(classes)]).encode())
    columns = [name for name in ("id", "label", "group", "cluster", "target") if name in frame.columns]
    for start in range(0, frame.height, 10_000):
        digest.update(json.dumps(frame.select(columns).slice(start, 10_000).rows()).encode())
    return digest.hexdigest()
