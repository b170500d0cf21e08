"""The prepared store: a data set decoded, cropped and resized once, then memory-mapped by every run.

A store is a folder of `images.bin` (N × H × W × C bytes), `samples.parquet`, `rejected.parquet` and
`manifest.json`. It appears under its name only when it is whole, and is never changed afterwards.
"""

import errno
import hashlib
import io
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from emotion.cores import cores
from emotion.data.preparation import Box, Preparation
from emotion.data.table import MEASURED, SampleTable, rejections
from emotion.errors import DataError
from emotion.waiting import alone

FORMAT = 1
IMAGES, SAMPLES, REJECTED, MANIFEST = "images.bin", "samples.parquet", "rejected.parquet", "manifest.json"
COLUMNS = ("id", "label", "split", "group", "digest", "key")

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

_CHUNK = 256
_STATISTICS_IMAGES = 50_000
# Below this threads cost more by handing the interpreter's lock to and fro than they win (a 48-px jpg takes 70 µs).
_WORTH_A_THREAD_S = 3e-4
_REPAIR = "Delete this folder; the next run prepares it again from the data set."
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Store:
    """A prepared data set, read-only; opening it reads no pixels and imports no torch.

    Pickling one passes its path, so worker processes map the same memory again.

    Attributes:
        path: the store's folder.
        manifest: plain dict of everything that is known about it.
        images: memory map (N, H, W, C) uint8, rows sorted by sample id.
        labels: (N,) int64, indices into `classes`.
        selection: what a configuration changed about it (classes, exclude, group_by), as plain values.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        size = self.size_px
        shape = (int(manifest["count"]), size, size, self.channels)
        self.images = np.memmap(path / IMAGES, dtype=np.uint8, mode="r", shape=shape)
        self.labels: np.ndarray = self._column("label")
        self.selection: dict[str, Any] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store at `path`, after checking its manifest's digest and the size of each file.

        Raises:
            DataError: there is none, it is of another format, or it has been cut or changed.
        """
        return cls(path, _read_manifest(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).open, (self.path,)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.manifest["classes"])

    @property
    def size_px(self) -> int:
        return int(self.manifest["preparation"]["size_px"])

    @property
    def channels(self) -> int:
        return int(self.manifest["preparation"]["channels"])

    @property
    def preparation(self) -> Preparation:
        return Preparation.from_dict(self.manifest["preparation"])

    @property
    def fingerprint(self) -> str:
        """32 hex digits of ids, labels, groups, splits, classes and prepared pixels: what results depend on."""
        return str(self.manifest["fingerprint"])

    @property
    def official(self) -> bool:
        """Whether the column `split` is the split that the data set was published with."""
        return bool(self.manifest["official"])

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self.manifest["notes"])

    @cached_property
    def targets(self) -> np.ndarray | None:
        """(N, K) float32, one probability a class: the soft labels, None where the data set has none."""
        if "target" not in pl.scan_parquet(self.path / SAMPLES, glob=False).collect_schema():
            return None
        rows: np.ndarray = (
            pl.read_parquet(self.path / SAMPLES, columns=["target"], glob=False)["target"]
            .explode()
            .to_numpy()
        )
        return rows.reshape(len(self), len(self.classes))

    @property
    def samples_target(self) -> bool:
        """Whether training draws one label from `targets` for each image, instead of taking it as it is."""
        return self.manifest.get("target_use") == "sampled"

    @property
    def frame(self) -> pl.DataFrame:
        """One row an image: id, label, split, group, digest (of the prepared pixels, 16 hex digits), key.

        With them target, valence and arousal, where the data set has them.

        `key` is a 64-bit integer made from the id, for random choices. Read anew at each access: for half a
        million images it takes 20 ms, and would hold more memory than everything else.
        """
        return pl.read_parquet(self.path / SAMPLES, glob=False)

    @cached_property
    def keys(self) -> np.ndarray:
        """(N,) uint64: a stable number for each sample id."""
        return self._column("key")

    @property
    def rejected(self) -> pl.DataFrame:
        """Rows that were left out: id, reason, detail."""
        return pl.read_parquet(self.path / REJECTED, glob=False)

    def _column(self, name: str) -> np.ndarray:
        try:
            column: np.ndarray = pl.read_parquet(self.path / SAMPLES, columns=[name], glob=False)[
                name
            ].to_numpy()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"the store {self.path} has an unreadable {SAMPLES} ({error}). {_REPAIR}"
            ) from error
        return column

    def statistics(self, rows: np.ndarray) -> tuple[list[float], list[float]]:
        """Mean and standard deviation a channel of these rows' pixels, scaled to [0, 1].

        Of at most 50,000 images, evenly spaced in store order: more don't change the third digit.
        """
        import cv2  # opening a store reads no pixels, and needs none of it

        rows = rows[:: max(1, -(-len(rows) // _STATISTICS_IMAGES))]
        counts = np.zeros((self.channels, 256), np.int64)
        for start in range(0, len(rows), _CHUNK):
            images = self.images[rows[start : start + _CHUNK]]
            pixels = images.reshape(-1, images.shape[2], self.channels)
            for channel in range(self.channels):
                found = cv2.calcHist([pixels], [channel], None, [256], [0, 256])
                counts[channel] += found[:, 0].astype(np.int64)
        share = counts / counts.sum(axis=1, keepdims=True)
        levels = np.arange(256) / 255
        mean = share @ levels
        deviation = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
        return mean.tolist(), deviation.tolist()

    def verify(self) -> None:
        """Read everything and compare its digest with the manifest's.

        Raises:
            DataError: pixels or samples are not those that were written.
        """
        samples = self.frame
        pixels = hashlib.blake2b(digest_size=16)
        for start in range(0, len(self), _CHUNK):
            pixels.update(self.images[start : start + _CHUNK].tobytes())
        if (
            _fingerprint(self.classes, samples, self.manifest["preparation"], pixels.hexdigest())
            != self.fingerprint
        ):
            raise DataError(f"the store {self.path} has been changed since it was written. {_REPAIR}")


def prepare(
    table_factory: Callable[[], SampleTable],
    key_parts: Mapping[str, Any],
    preparation: Preparation,
    cache_dir: Path,
    progress: Progress | None = None,
) -> Store:
    """The store of a data set: opened where it is there already, else made from the table.

    Parallel calls, in this process or others, make it once: one prepares under a lock and the others wait.

    Args:
        table_factory: reads the sample table; called only if the store has to be made.
        key_parts: plain values that the table depends on: its `name`, the reader's signature and options.
        preparation: how each image is brought to the stored form.
        cache_dir: folder that holds the stores.
        progress: called with (images done, images in all).

    Raises:
        DataError: the table can't be read, (nearly) no image can, or the disk is full. Nothing is left then.
    """
    key = _key(key_parts, preparation)
    path = store_path(key_parts, preparation, cache_dir)
    store = _open_if_sound(path)
    if store is not None:
        return store
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.parent / f".{path.name}.lock", f"prepares {path.name}"):
            store = _open_if_sound(path)
            if store is None:
                _make(path, _table(table_factory), key, preparation, progress)
                store = Store.open(path)
    except OSError as error:
        raise _cache_error(path.parent, error) from error
    return store


def store_path(key_parts: Mapping[str, Any], preparation: Preparation, cache_dir: Path) -> Path:
    """Where `prepare` keeps the store of such a table."""
    return cache_dir.expanduser().absolute() / _folder_name(_key(key_parts, preparation))


def _key(key_parts: Mapping[str, Any], preparation: Preparation) -> dict[str, Any]:
    key: dict[str, Any] = {"format": FORMAT, "preparation": preparation.to_dict(), **key_parts}
    plain: dict[str, Any] = json.loads(json.dumps(key))
    return plain


def _table(factory: Callable[[], SampleTable]) -> SampleTable:
    try:
        return factory()
    except OSError as error:  # not to be taken for one of the cache
        raise DataError(f"the data set can't be read: {error}. Check its files and permissions.") from error


def _folder_name(key: dict[str, Any]) -> str:
    digest = hashlib.blake2b(_canonical(key), digest_size=6).hexdigest()
    return f"{key.get('name', 'data')}-{key['preparation']['size_px']}px-{digest}"


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _cache_error(cache_dir: Path, error: OSError) -> DataError:
    if error.errno in _FULL:
        free = _free_mib(cache_dir)
        return DataError(
            f"no space left while preparing the data in {cache_dir} ({error.strerror}; {free}). Nothing "
            "was left behind. Free some space, or set machine.cache_dir to a folder on another disk."
        )
    return DataError(
        f"expected to write prepared data into {cache_dir}: {error.strerror or error}. "
        "Set machine.cache_dir to a folder that can be written."
    )


def _free_mib(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free"
    except OSError:
        return "the free space is unknown"


def _open_if_sound(path: Path) -> Store | None:
    if not path.exists():
        return None
    try:
        return Store.open(path)
    except DataError as error:
        log.warning("%s Preparing it again.", str(error).removesuffix(_REPAIR).strip())
        return None


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"expected a prepared store in {path}, found no {MANIFEST} there. {_REPAIR}"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"the store {path} has an unreadable {MANIFEST} ({error}). {_REPAIR}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise DataError(
            f"the store {path} is of format {found}, this version of emotion ({_version()}) reads format "
            f"{FORMAT}. {_REPAIR}"
        )
    if manifest.get("digest") != _manifest_digest(manifest):
        raise DataError(f"the store {path} has a {MANIFEST} that was changed since it was written. {_REPAIR}")
    for name, size in manifest["files"].items():
        try:
            found = (path / name).stat().st_size
        except OSError:
            raise DataError(f"the store {path} lacks {name}. {_REPAIR}") from None
        if found != size:
            raise DataError(
                f"the store {path} was cut or changed: {name} has {found:,} of {size:,} bytes. {_REPAIR}"
            )
    return manifest


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version() -> str:
    try:
        return version("emotion")
    except PackageNotFoundError:  # run from a source tree that isn't installed
        return "unknown"


def _manifest_digest(manifest: dict[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.blake2b(_canonical(rest), digest_size=16).hexdigest()


def _make(
    path: Path, table: SampleTable, key: dict[str, Any], preparation: Preparation, progress: Progress | None
) -> None:
    """Write the store beside its place and move it there. The caller holds the lock."""
    for left in path.parent.glob(f".{path.name}.part-*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    part = path.parent / f".{path.name}.part-{os.getpid()}"
    part.mkdir()
    try:
        manifest = _write(part, table, key, preparation, progress)
        manifest["digest"] = _manifest_digest(manifest)
        _write_file(part / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
        _sync(part)
        if path.exists():
            broken = part.with_name(f"{part.name}-broken")
            path.rename(broken)  # whoever still has it mapped keeps it
            shutil.rmtree(broken, ignore_errors=True)
        part.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(
    folder: Path, table: SampleTable, key: dict[str, Any], preparation: Preparation, progress: Progress | None
) -> dict[str, Any]:
    """Write images, samples and rejected rows; returns the manifest without its digest."""
    frame = table.frame.with_row_index("row").sort("id")
    digests: list[str | None] = []
    rejected: list[tuple[str, str, str]] = []
    pixels = hashlib.blake2b(digest_size=16)
    image_bytes = preparation.size_px**2 * preparation.channels
    with (folder / IMAGES).open("wb") as file:
        _reserve(file.fileno(), frame.height * image_bytes)
        for start, images in _prepared(table, frame, preparation):
            good = [image.tobytes() for image in images if isinstance(image, np.ndarray)]
            block = b"".join(good)
            file.write(block)
            pixels.update(block)
            ids = frame["id"].slice(start, len(images))
            for sample_id, image in zip(ids, images, strict=True):
                if isinstance(image, np.ndarray):
                    digests.append(hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest())
                else:
                    digests.append(None)
                    rejected.append((sample_id, "unreadable image", str(image)))
            if progress is not None:
                progress(start + len(images), frame.height)
        file.truncate(file.tell())
        file.flush()
        os.fsync(file.fileno())
    if len(rejected) > frame.height / 2:
        raise DataError(
            f"expected images, found that {len(rejected):,} of the {frame.height:,} in {table.name!r} "
            f"can't be read; the first is {rejected[0][0]}: {rejected[0][2]} Check the download."
        )
    samples = _samples(frame, digests)
    all_rejected = pl.concat([table.rejected, rejections(rejected)])
    _write_file(folder / SAMPLES, _parquet(samples))
    _write_file(folder / REJECTED, _parquet(all_rejected))
    return {
        "format": FORMAT,
        "name": table.name,
        "classes": list(table.classes),
        "count": samples.height,
        "official": table.official,
        **({"target_use": table.target_use} if "target" in samples.columns else {}),
        "preparation": preparation.to_dict(),
        "fingerprint": _fingerprint(table.classes, samples, preparation.to_dict(), pixels.hexdigest()),
        "notes": [*table.notes, *_duplicate_notes(samples)],
        "rejected": dict(all_rejected["reason"].value_counts(sort=True).iter_rows()),
        "key": key,
        "files": {name: (folder / name).stat().st_size for name in (IMAGES, SAMPLES, REJECTED)},
        "version": _version(),
        "created": _now(),
    }


def _prepared(
    table: SampleTable, frame: pl.DataFrame, preparation: Preparation
) -> Iterator[tuple[int, list[np.ndarray | DataError]]]:
    """The prepared images in the frame's order, a chunk at a time: (first row, images or what is wrong)."""
    rows = frame["row"].to_numpy()
    boxes = frame.select("x", "y", "width", "height").to_numpy() if "x" in frame.columns else None

    def one(position: int) -> np.ndarray | DataError:
        box: Box | None = None
        if boxes is not None and not np.isnan(boxes[position]).any():
            x, y, width, height = boxes[position].tolist()
            box = (x, y, width, height)
        try:
            return preparation(table.source.read(int(rows[position])), box)
        except DataError as error:
            return error

    def chunk(start: int) -> tuple[int, list[np.ndarray | DataError]]:
        return start, [one(position) for position in range(start, min(start + _CHUNK, len(rows)))]

    started = time.perf_counter()
    first = chunk(0)
    pace_s = (time.perf_counter() - started) / len(first[1])
    yield first
    starts = range(_CHUNK, len(rows), _CHUNK)
    threads = cores()
    if pace_s < _WORTH_A_THREAD_S or threads == 1:
        yield from map(chunk, starts)
        return
    with ThreadPoolExecutor(threads) as pool:
        # A few chunks ahead and no more: what has been prepared and not yet written is memory.
        ahead = 2 * threads
        pending = [pool.submit(chunk, start) for start in starts[:ahead]]
        for start in [*starts[ahead:], *[None] * len(pending)]:
            yield pending.pop(0).result()
            if start is not None:
                pending.append(pool.submit(chunk, start))


def _samples(frame: pl.DataFrame, digests: list[str | None]) -> pl.DataFrame:
    """The store's table: the rows whose image could be prepared, with its digest and the id's key."""
    kept = frame.with_columns(digest=pl.Series(digests, dtype=pl.String)).filter(
        pl.col("digest").is_not_null()
    )
    columns = [*COLUMNS, *(name for name in ("target", *MEASURED) if name in kept.columns)]
    keys = [int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest(), "little") for i in kept["id"]]
    return kept.with_columns(key=pl.Series(keys, dtype=pl.UInt64)).select(columns)


def _fingerprint(
    classes: tuple[str, ...], samples: pl.DataFrame, preparation: dict[str, Any], pixels: str
) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(_canonical([list(classes), preparation["size_px"], preparation["channels"], pixels]))
    # Only where there are targets: the fingerprints of all other data sets stay what they were.
    columns = ["id", "label", "split", "group", *(["target"] if "target" in samples.columns else [])]
    for start in range(0, samples.height, 10_000):
        digest.update(_canonical(samples.select(columns).slice(start, 10_000).rows()))
    return digest.hexdigest()


def _duplicate_notes(samples: pl.DataFrame) -> list[str]:
    groups = samples.group_by("digest").agg(pl.len(), labels=pl.col("label").n_unique())
    groups = groups.filter(pl.col("len") > 1)
    if groups.height == 0:
        return []
    notes = [f"{groups.height:,} groups of identical images ({groups['len'].sum():,} images)."]
    contradictory = groups.filter(pl.col("labels") > 1)
    if contradictory.height:
        notes.append(
            f"{contradictory.height:,} groups of identical images carry contradictory labels "
            f"({contradictory['len'].sum():,} images)."
        )
    return notes


def _reserve(handle: int, size: int) -> None:
    """Claim the space now, so that a full disk is known before an hour's work and not behind a memory map."""
    if not hasattr(os, "posix_fallocate"):  # macOS: a full disk shows while writing
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
