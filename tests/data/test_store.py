"""The store: what it holds, when it is made, and that nothing half-written is ever trusted."""

import errno
import json
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emotion.data.images import ImageArray
from emotion.data.preparation import Preparation
from emotion.data.readers import fer2013
from emotion.data.store import Store, prepare
from emotion.data.table import SampleTable, rejections
from emotion.errors import DataError

LABELS = [0, 1, 2, 0, 1, 2, 0]
PREPARATION = Preparation(12, 1)
KEY = {"name": "small", "signature": "1"}
MakeTable = Callable[..., SampleTable]


class Broken(ImageArray):
    """Some of its images can't be read."""

    def __init__(self, images: np.ndarray, bad: set[int]) -> None:
        super().__init__(images)
        self.bad = bad

    def read(self, index: int) -> np.ndarray:
        if index in self.bad:
            raise DataError("can't be decoded: for the test.")
        return super().read(index)


def with_source(table: SampleTable, source: ImageArray) -> SampleTable:
    return SampleTable(table.name, table.classes, table.frame, source)


def leftovers(cache: Path) -> list[str]:
    """What lies in a cache folder apart from lock files."""
    return sorted(p.name for p in cache.iterdir() if not p.name.endswith(".lock"))


def test_it_holds_every_image_and_row_sorted_by_id(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table(LABELS, groups=list("aabbccd"))
    shuffled = table.frame.with_columns(id=pl.Series(["s4", "s0", "s6", "s1", "s5", "s2", "s3"]))
    table = SampleTable("small", table.classes, shuffled, table.source)
    store = prepare(lambda: table, KEY, PREPARATION, tmp_path)
    rows = [1, 3, 5, 6, 0, 4, 2]  # of the table, in the order of their ids
    assert store.images.shape == (7, 12, 12, 1)
    assert store.images.dtype == np.uint8
    for position, row in enumerate(rows):
        assert np.array_equal(store.images[position, :, :, 0], table.source.read(row))
    assert store.frame["id"].to_list() == [f"s{n}" for n in range(7)]
    assert store.labels.tolist() == [LABELS[row] for row in rows]
    assert store.frame["group"].to_list() == ["aabbccd"[row] for row in rows]
    assert (store.classes, store.channels, store.size_px) == (table.classes, 1, 12)
    assert store.preparation == PREPARATION
    assert store.rejected.height == 0
    store.verify()


def test_equal_pixels_and_only_those_have_equal_digests(make_table: MakeTable, tmp_path: Path) -> None:
    images = np.zeros((7, 12, 12), np.uint8)
    images[2, 5, 5] = 1
    images[4, 5, 5] = 1
    images[5, 5, 6] = 1
    store = prepare(lambda: make_table(LABELS, images), KEY, PREPARATION, tmp_path)
    digests = store.frame["digest"].to_list()
    classes = [{i for i in range(7) if digests[i] == digest} for digest in digests]
    assert classes[0] == {0, 1, 3, 6}
    assert classes[2] == {2, 4}
    assert classes[5] == {5}
    assert "2 groups of identical images (6 images)." in store.notes
    assert "2 groups of identical images carry contradictory labels (6 images)." in store.notes


def test_boxes_are_cut_out(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table(LABELS)
    boxes = table.frame.with_columns(
        x=pl.Series([2.0, None, 0, 0, 0, 0, 99]),
        y=pl.Series([3.0, None, 0, 0, 0, 0, 0]),
        width=pl.lit(4.0),
        height=pl.lit(4.0),
    )
    table = SampleTable("small", table.classes, boxes, table.source)
    store = prepare(lambda: table, KEY, Preparation(4, 1), tmp_path)
    assert np.array_equal(store.images[0, :, :, 0], table.source.read(0)[3:7, 2:6])
    assert np.array_equal(store.images[1], Preparation(4, 1)(table.source.read(1)))
    assert store.manifest["rejected"] == {"unreadable image": 1}  # the box outside of the image


def test_what_cannot_be_read_is_counted_and_listed(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table(LABELS)
    images = np.stack([table.source.read(i) for i in range(7)])
    broken = SampleTable(
        "small", table.classes, table.frame, Broken(images, {1, 5}), rejections([("s9", "missing file", "")])
    )
    store = prepare(lambda: broken, KEY, PREPARATION, tmp_path)
    assert len(store) == 5
    assert store.images.shape[0] == 5
    assert np.array_equal(store.images[1, :, :, 0], images[2])
    assert store.manifest["rejected"] == {"unreadable image": 2, "missing file": 1}
    assert set(store.rejected["id"]) == {"s9", "s000001", "s000005"}
    store.verify()


def test_if_most_images_cannot_be_read_it_is_an_error(make_table: MakeTable, tmp_path: Path) -> None:
    table = with_source(make_table(LABELS), Broken(np.zeros((7, 12, 12), np.uint8), set(range(4))))
    with pytest.raises(DataError, match="4 of the 7 .* the first is s000000: can't be decoded: for the test"):
        prepare(lambda: table, KEY, PREPARATION, tmp_path)
    assert leftovers(tmp_path) == []


def test_the_second_time_it_is_only_opened(make_table: MakeTable, tmp_path: Path) -> None:
    first = prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)

    def never() -> SampleTable:
        raise AssertionError("the table was read again")

    again = prepare(never, KEY, PREPARATION, tmp_path)
    assert again.path == first.path
    assert again.fingerprint == first.fingerprint
    assert not again.images.flags.writeable


@pytest.mark.parametrize(
    ("key", "preparation"),
    [
        (KEY | {"signature": "2"}, PREPARATION),
        (KEY, Preparation(10, 1)),
        (KEY, Preparation(12, 3)),
        (KEY, Preparation(12, 1, margin=0.1)),
    ],
)
def test_anything_that_it_depends_on_makes_another(
    make_table: MakeTable, tmp_path: Path, key: dict[str, str], preparation: Preparation
) -> None:
    first = prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)
    other = prepare(lambda: make_table(LABELS), key, preparation, tmp_path)
    assert other.path != first.path


def changed(table: SampleTable, what: str) -> SampleTable:
    frame, classes, source = table.frame, table.classes, table.source
    if what == "id":
        frame = frame.with_columns(id=pl.col("id").str.replace("s000003", "s0000030"))
    if what == "label":
        frame = frame.with_columns(label=pl.Series([0, 1, 2, 0, 1, 2, 1]))
    if what == "group":
        frame = frame.with_columns(group=pl.Series([None] * 6 + ["a"]))
    if what == "split":
        frame = frame.with_columns(split=pl.lit("train"))
    if what == "classes":
        classes = tuple(reversed(classes))
    if what == "pixel":
        images = np.stack([source.read(i) for i in range(7)])
        images[6, 0, 0] ^= 1
        source = ImageArray(images)
    return SampleTable(table.name, classes, frame, source)


@pytest.mark.parametrize("what", ["id", "label", "group", "split", "classes", "pixel"])
def test_the_fingerprint_changes_with_whatever_results_depend_on(
    make_table: MakeTable, tmp_path: Path, what: str
) -> None:
    table = make_table(LABELS)
    before = prepare(lambda: table, KEY, PREPARATION, tmp_path / "a").fingerprint
    assert prepare(lambda: changed(table, what), KEY, PREPARATION, tmp_path / "b").fingerprint != before


def test_the_fingerprint_does_not_change_with_place_or_order_of_rows(
    make_table: MakeTable, tmp_path: Path
) -> None:
    table = make_table(LABELS)
    images = np.stack([table.source.read(i) for i in range(7)])
    turned = SampleTable("small", table.classes, table.frame.reverse(), ImageArray(images[::-1]))
    first = prepare(lambda: table, KEY | {"root": "a"}, PREPARATION, tmp_path / "a")
    second = prepare(lambda: turned, KEY | {"root": "b"}, PREPARATION, tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    assert first.keys.tolist() == second.keys.tolist()


def test_keys_are_known_numbers_of_the_ids(make_table: MakeTable, tmp_path: Path) -> None:
    # Written down once: augmentation would change with them, and so every reproducible run.
    store = prepare(lambda: make_table([0, 1, 2]), KEY, PREPARATION, tmp_path)
    assert store.frame["key"].to_list() == [4075925721101476990, 17500413257457316673, 2900880860590746398]
    assert store.keys.dtype == np.uint64


def test_a_pickled_store_is_a_path(make_table: MakeTable, tmp_path: Path) -> None:
    store = prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)
    data = pickle.dumps(store)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert np.array_equal(again.images, store.images)


def test_statistics_are_those_of_the_pixels(make_table: MakeTable, tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (7, 12, 12, 3), dtype=np.uint8)
    store = prepare(lambda: make_table(LABELS, images), KEY, Preparation(12, 3), tmp_path)
    rows = np.array([0, 2, 3])
    mean, deviation = store.statistics(rows)
    assert mean == pytest.approx((images[rows] / 255).mean(axis=(0, 1, 2)).tolist())
    assert deviation == pytest.approx((images[rows] / 255).std(axis=(0, 1, 2)).tolist())


def test_progress_reaches_the_end(make_table: MakeTable, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    table = make_table([0, 1] * 400)
    prepare(lambda: table, KEY, PREPARATION, tmp_path, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == [256, 512, 768, 800]
    assert {total for _, total in seen} == {800}


def test_slow_images_are_prepared_by_threads_in_the_same_order(make_table: MakeTable, tmp_path: Path) -> None:
    class Slow(ImageArray):
        def read(self, index: int) -> np.ndarray:
            time.sleep(0.0005)
            return super().read(index)

    labels = [0, 1] * 700
    table = make_table(labels)
    images = np.stack([table.source.read(i) for i in range(len(labels))])
    store = prepare(lambda: with_source(table, Slow(images)), KEY, PREPARATION, tmp_path)
    assert np.array_equal(store.images[..., 0], images)


# What a store must not survive


def cut_images(path: Path) -> None:
    os.truncate(path / "images.bin", 100)


def garble_samples(path: Path) -> None:
    size = (path / "samples.parquet").stat().st_size
    (path / "samples.parquet").write_bytes(b"?" * size)


def lose_samples(path: Path) -> None:
    (path / "samples.parquet").unlink()


def edit_manifest(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"neutral"', '"sadness"', 1))


def cut_manifest(path: Path) -> None:
    os.truncate(path / "manifest.json", 50)


def lose_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_images, r"was cut or changed: images.bin has 100 of 1,008 bytes"),
        (lose_samples, "lacks samples.parquet"),
        (garble_samples, "unreadable samples.parquet"),
        (edit_manifest, "manifest.json that was changed"),
        (cut_manifest, "unreadable manifest.json"),
        (lose_manifest, "no manifest.json"),
    ],
)
def test_a_damaged_store_is_refused_and_prepared_again(
    make_table: MakeTable,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    store = prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)
    damage(store.path)
    with pytest.raises(DataError, match=message + ".*[Dd]elete this folder; the next run prepares it again"):
        Store.open(store.path)
    with caplog.at_level(logging.WARNING):
        again = prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)
    assert "Preparing it again" in caplog.text
    assert again.fingerprint == store.fingerprint
    again.verify()
    assert leftovers(tmp_path) == [store.path.name]


def test_another_format_names_what_this_version_reads(make_table: MakeTable, tmp_path: Path) -> None:
    store = prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)
    manifest = json.loads((store.path / "manifest.json").read_text()) | {"format": 2}
    (store.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="is of format 2, this version of emotion .* reads format 1"):
        Store.open(store.path)


@pytest.mark.parametrize("file", ["images.bin", "samples.parquet"])
def test_verify_finds_a_changed_byte_that_opening_does_not_look_for(
    make_table: MakeTable, tmp_path: Path, file: str
) -> None:
    store = prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)
    if file == "images.bin":
        with (store.path / file).open("rb+") as handle:
            handle.seek(500)
            handle.write(bytes([store.images.ravel()[500] ^ 1]))
    else:
        store.frame.with_columns(label=pl.col("label").reverse()).write_parquet(store.path / file)
    with pytest.raises(DataError, match="has been changed since it was written"):
        store.verify()


# A full disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["posix_fallocate", "fsync"])
def test_a_full_disk_is_said_and_leaves_nothing(
    make_table: MakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        DataError, match=r"no space left while preparing the data in .*MiB are free.*machine.cache_dir"
    ):
        prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path).verify()


@pytest.mark.parametrize("reserve", [True, False])
def test_a_real_limit_on_file_size_is_said_and_leaves_nothing(
    make_table: MakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserve: bool
) -> None:
    if not reserve:  # macOS has no posix_fallocate: there the disk fills up while writing
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    table = make_table([0, 1] * 500)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        with pytest.raises(DataError, match="no space left"):
            prepare(lambda: table, KEY, PREPARATION, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert leftovers(tmp_path) == []


def test_a_file_system_without_reservation_is_written_to(
    make_table: MakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path).verify()


def test_a_cache_folder_that_cannot_be_made_is_a_clear_error(make_table: MakeTable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="expected to write prepared data into .*machine.cache_dir"):
        prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path / "file" / "cache")


def test_an_unreadable_data_set_is_not_taken_for_an_unwritable_cache(tmp_path: Path) -> None:
    def table() -> SampleTable:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/fer2013.csv")

    with pytest.raises(
        DataError, match=r"the data set can't be read: .*Permission denied: '/data/fer2013.csv'"
    ):
        prepare(table, KEY, PREPARATION, tmp_path)
    assert leftovers(tmp_path) == []


def test_an_error_while_reading_leaves_nothing(make_table: MakeTable, tmp_path: Path) -> None:
    class Bad(ImageArray):
        def read(self, index: int) -> np.ndarray:
            if index == 5:
                raise KeyboardInterrupt
            return super().read(index)

    table = with_source(make_table(LABELS), Bad(np.zeros((7, 12, 12), np.uint8)))
    with pytest.raises(KeyboardInterrupt):
        prepare(lambda: table, KEY, PREPARATION, tmp_path)
    assert leftovers(tmp_path) == []


# Several processes

SLOW = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import numpy as np, polars as pl
    from emotion.data.images import ImageArray
    from emotion.data.preparation import Preparation
    from emotion.data.store import prepare
    from emotion.data.table import SampleTable

    class Slow(ImageArray):
        def read(self, index):
            if index == 600:
                print("half", flush=True)
                while not Path(sys.argv[2]).exists():
                    time.sleep(0.02)
            return super().read(index)

    def table():
        print("reading", flush=True)
        n = 1000
        frame = pl.DataFrame({"id": [f"s{i:06d}" for i in range(n)], "label": [0] * n, "split": None, "group": None},
                             schema={"id": pl.String, "label": pl.Int64, "split": pl.String, "group": pl.String})
        images = np.random.default_rng(0).integers(0, 256, (n, 12, 12), dtype=np.uint8)
        return SampleTable("slow", ("neutral",), frame, Slow(images))

    store = prepare(table, {"name": "slow"}, Preparation(12, 1), Path(sys.argv[1]))
    store.verify()
    print(store.fingerprint, flush=True)
    """
)


def start(cache: Path, until: Path) -> "subprocess.Popen[str]":
    """Prepares the store, and stops half-way until the file `until` is there."""
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, str(cache), str(until)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )


def wait_for(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"the process never said {line!r}")


def test_of_two_at_once_one_prepares_and_the_other_waits_and_says_for_whom(tmp_path: Path) -> None:
    cache, go = tmp_path / "cache", tmp_path / "go"
    first = start(cache, go)
    wait_for(first, "half")
    second = start(cache, go)
    assert second.stderr is not None
    said = second.stderr.readline()  # only then is the first one let go
    go.touch()
    out, _ = second.communicate(timeout=60)
    first_out, _ = first.communicate(timeout=60)
    assert "reading" not in out
    assert out.strip() == first_out.strip()
    assert f"Waiting for process {first.pid} on " in said
    assert "which prepares slow-12px-" in said
    assert len(leftovers(cache)) == 1


def test_killed_in_the_middle_nothing_is_trusted_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = start(cache, tmp_path / "never")
    wait_for(first, "half")
    first.kill()
    first.communicate()
    half = leftovers(cache)
    assert len(half) == 1  # what was begun lies there under another name
    assert half[0].startswith(".slow-12px-")
    out, _ = start(cache, tmp_path).communicate(timeout=60)
    assert out.splitlines()[0] == "reading"
    assert len(leftovers(cache)) == 1
    assert leftovers(cache)[0].startswith("slow-12px-")


def test_the_pixels_are_shared_memory_not_a_copy(make_table: MakeTable, tmp_path: Path) -> None:
    store = prepare(lambda: make_table(LABELS), KEY, PREPARATION, tmp_path)
    assert isinstance(store.images, np.memmap)
    assert store.images.base is not None
    assert Path(str(store.images.filename)) == store.path / "images.bin"


# The real thing


def test_the_real_fer2013_is_prepared_once(emotion_data: Path, tmp_path: Path) -> None:
    key = {"name": "fer2013", "signature": fer2013.signature(emotion_data / "fer2013")}

    def open_it(table: Callable[[], SampleTable]) -> Store:
        return prepare(table, key, Preparation(48, 1), tmp_path)

    store = open_it(lambda: fer2013.read(emotion_data / "fer2013"))
    assert store.images.shape == (35_887, 48, 48, 1)

    def unread() -> SampleTable:
        raise AssertionError("the data set was read again")

    assert open_it(unread).fingerprint == store.fingerprint
