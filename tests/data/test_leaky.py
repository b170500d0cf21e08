"""Study C's leaky protocol: that it leaks, that it is measured, and that nothing else does it."""

import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from emotion.data import mimic
from emotion.data.dataset import open_store, split_store
from emotion.data.leaky import changed, with_copies
from emotion.data.splits import Split, leaks
from emotion.data.table import SampleTable
from emotion.errors import DataError
from emotion.launch import compose

LABELS = [0] * 12 + [1] * 5 + [2] * 2


@pytest.fixture
def table(make_table: Callable[..., SampleTable]) -> SampleTable:
    return with_copies(make_table(LABELS))


def test_every_class_is_filled_up_to_the_commonest(table: SampleTable) -> None:
    assert Counter(table.frame["label"].to_list()) == {0: 12, 1: 12, 2: 12}
    originals = [name.partition("#")[0] for name in table.frame["id"]]
    assert table.frame["group"].to_list() == originals
    times = Counter(originals[len(LABELS) :])
    assert sorted(times.values()) == [1, 1, 1, 2, 2, 5, 5]  # 7 copies of 5 images, 10 of 2
    assert table.frame["split"].null_count() == 36
    assert not table.official


def test_originals_stay_and_copies_differ(table: SampleTable, make_table: Callable[..., SampleTable]) -> None:
    plain = make_table(LABELS)
    assert all(np.array_equal(table.source.read(row), plain.source.read(row)) for row in range(len(LABELS)))
    copies = [table.source.read(row) for row in range(len(LABELS), 36)]
    assert len({copy.tobytes() for copy in copies}) == len(copies)
    assert {(copy.shape, copy.dtype.name) for copy in copies} == {((12, 12), "uint8")}


def test_a_copy_is_a_function_of_its_id(table: SampleTable) -> None:
    rows = range(len(LABELS), 36)
    once = [table.source.read(row) for row in rows]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(pickle.loads(pickle.dumps(table.source)).read, rows))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_a_change_is_small() -> None:
    """What it does to a bright square in the middle: it stays there, and roughly as large."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 30:50] = 200
    for seed in range(50):
        copy = changed(image, np.random.default_rng(seed))
        rows, columns = np.nonzero(copy[:, :, 0] > 100)
        assert abs(rows.mean() - 29.5) <= 7
        assert abs(columns.mean() - 39.5) <= 9.2
        assert 0.8 <= len(rows) / 400 <= 1.25


def test_a_copy_shows_what_its_original_shows_after_a_crop() -> None:
    """A shift of a tenth of the whole image would leave little of a cut that is a seventh of it."""
    image = np.zeros((160, 160), np.uint8)
    image[76:84, 76:84] = 200
    cut = slice(80 - 11, 80 + 12)
    for seed in range(50):
        rows, columns = np.nonzero(changed(image, np.random.default_rng(seed), 23)[cut, cut] > 100)
        assert abs(rows.mean() - 10.5) <= 3
        assert abs(columns.mean() - 10.5) <= 3
        assert 0.75 <= len(rows) / 64 <= 1.3


def test_faces_that_boxes_cut_out_are_refused(tmp_path: Path) -> None:
    """A copy's face lies elsewhere than its original's; pictures that are used as a whole are fine."""
    for form in ("expw", "affectnet"):
        mimic.draw(form, tmp_path / form)

    def copied(form: str, *overrides: str) -> int:
        config = compose(
            [
                f"data={form}",
                f"data.root={tmp_path / form}",
                "data.protocol=leaky",
                "preprocess.size_px=48",
                *overrides,
            ]
        )
        return len(open_store(config.data, config.preprocess, tmp_path / "cache"))

    for form in ("expw", "affectnet"):
        with pytest.raises(DataError, match=f"cropped already, found face boxes in {form}"):
            copied(form)
    assert copied("affectnet", "data.crop=whole")


def measured(tmp_path: Path, *overrides: str) -> tuple[Split, float]:
    """The split of drawn faces, and the share of its test images whose photograph or person is learnt from."""
    config = compose(
        ["data.count=140", "data.imbalance=3", f"machine.cache_dir={tmp_path}/cache", *overrides]
    )
    store = open_store(config.data, config.preprocess, config.machine.cache_dir)
    split = split_store(config, store)
    leaked = {name for leak in leaks(store.frame, split) if leak.parts[1] == "test" for name in leak.ids}
    return split, len(leaked) / len(split.test)


def test_it_leaks_and_says_so_where_the_honest_protocol_does_not(tmp_path: Path) -> None:
    leaky, share = measured(tmp_path, "data.protocol=leaky")
    assert share > 0.5
    assert leaky.manifest["protocol"] == "leaky"
    assert len(leaky.manifest["leaked_test_ids"]) == round(share * len(leaky.test))
    assert "leaky protocol" in leaky.manifest["warnings"][-1]
    assert len(set(leaky.manifest["counts"]["test"].values())) == 1  # the test part is balanced as well
    before = leaky.manifest["before"]
    assert sum(before.values()) == 140
    assert len(set(before.values())) > 1
    honest, share = measured(tmp_path, "sampling=oversample", "sampling.augmented=copies")
    assert share == 0
    assert "protocol" not in honest.manifest
    assert len(set(honest.manifest["counts"]["test"].values())) > 1
