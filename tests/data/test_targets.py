"""Soft labels: from the table through the store into the batch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emotion import counter
from emotion.data.datamodule import ExpressionDataModule, sampled
from emotion.data.preparation import Preparation
from emotion.data.splits import Split
from emotion.data.store import Store, prepare
from emotion.data.table import SampleTable
from emotion.errors import DataError
from emotion.schema.images import AugmentNone, NaturalSampling

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on few cores
LABELS = [0, 1, 2, 0, 1, 2]
TARGETS = [[0.5, 0.25, 0.25], [0, 1, 0], [0.25, 0, 0.75], [1, 0, 0], [0.25, 0.5, 0.25], [0, 0.25, 0.75]]
MakeTable = Callable[..., SampleTable]


def soft(make_table: MakeTable, targets: object = TARGETS, **more: object) -> SampleTable:
    table = make_table(LABELS)
    frame = table.frame.with_columns(target=pl.Series(targets, dtype=pl.List(pl.Float32)))
    return SampleTable(table.name, table.classes, frame, table.source, **more)  # type: ignore[arg-type]


def store_of(table: SampleTable, folder: Path) -> Store:
    return prepare(lambda: table, {"name": "soft", "use": table.target_use}, Preparation(12, 1), folder)


def module_of(store: Store, rows: Sequence[int], seed: int = 0) -> ExpressionDataModule:
    part = np.array(rows, np.int64)
    split = Split(part, part, part, {})
    return ExpressionDataModule(
        store,
        split,
        batch_size=3,
        sampling=NaturalSampling(),
        augment=AugmentNone(),
        seed=seed,
        workers=0,
        eval_batch_size=6,
    )


def test_batches_carry_the_targets_of_their_rows(make_table: MakeTable, tmp_path: Path) -> None:
    store = store_of(soft(make_table), tmp_path)
    module = module_of(store, range(6))
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for batch in loader:
            assert batch["target"].numpy().dtype == np.float32
            assert batch["target"].tolist() == [TARGETS[row] for row in batch["index"].tolist()]
    store.verify()


def test_a_store_without_targets_has_none_in_its_batches(make_table: MakeTable, tmp_path: Path) -> None:
    store = store_of(make_table(LABELS), tmp_path)
    assert store.targets is None
    assert "target" not in next(iter(module_of(store, range(6)).train_dataloader()))


def test_other_targets_are_other_data(make_table: MakeTable, tmp_path: Path) -> None:
    hard = np.eye(3)[LABELS].tolist()
    tables = [make_table(LABELS), soft(make_table), soft(make_table, hard)]
    stores = [store_of(table, tmp_path / str(n)) for n, table in enumerate(tables)]
    assert len({store.fingerprint for store in stores}) == 3


def test_valence_and_arousal_are_kept_beside(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table(LABELS)
    values = pl.Series([0.5, -1.0, None, 0.0, 1.0, 0.25], dtype=pl.Float32)
    frame = table.frame.with_columns(valence=values, arousal=-values)
    store = store_of(SampleTable("va", table.classes, frame, table.source), tmp_path)
    assert store.frame["valence"].to_list() == values.to_list()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([[0.5, 0.5]] * 6, "one probability for each of the 3 classes"),
        ([[0.5, 0.25, 0.25]] * 5 + [None], "in every row"),
        ([[0.5, 0.5, 0.5]] * 6, "sum to 1"),
        ([[1.5, -0.5, 0.0]] * 6, r"lie in \[0, 1\]"),
        ([[float("nan"), 0.5, 0.5]] * 6, "sum to 1"),
    ],
)
def test_what_is_no_distribution_is_refused(make_table: MakeTable, targets: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        soft(make_table, targets)


def test_sampled_targets_follow_their_distribution_and_nothing_but_seed_epoch_id_and_draw(
    make_table: MakeTable, tmp_path: Path
) -> None:
    store = store_of(soft(make_table, target_use="sampled"), tmp_path)
    first, again, other = (
        {
            int(row): target.tolist()
            for batch in module_of(store, range(6), seed).train_dataloader()
            for row, target in zip(batch["index"], batch["target"], strict=True)
        }
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert all(sorted(target) == [0, 0, 1] for target in first.values())
    assert first[1] == [0, 1, 0]  # certain
    val = next(iter(module_of(store, range(6)).val_dataloader()))
    assert val["target"].tolist() == TARGETS[:6], "evaluation sees the distribution"

    streams = counter.mix(np.repeat(np.arange(200), 20), 5, np.tile(np.arange(20), 200))  # epoch, id, draw
    share = sampled(np.tile(np.float32([[0.25, 0, 0.75]]), (4000, 1)), streams).mean(axis=0)
    assert share == pytest.approx([0.25, 0, 0.75], abs=0.03)  # 4 standard errors
    assert share[1] == 0


def test_a_draw_without_its_number_would_be_noticed() -> None:
    """The sabotage: an oversampled image whose draws all get one label."""
    half = np.full((64, 2), 0.5, np.float32)
    assert 0 < sampled(half, counter.mix(0, 5, np.arange(64)))[:, 0].sum() < 64
    assert sampled(half, np.full(64, counter.mix(0, 5, 0)))[:, 0].sum() in (0, 64)


def test_workers_read_no_table(
    make_table: MakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What polars computes after a fork may wait for ever, so that targets are known before workers are started."""
    store = store_of(soft(make_table), tmp_path)
    module = module_of(store, range(6))
    expected = [batch["target"].tolist() for batch in module.train_dataloader()]
    module = module_of(Store.open(store.path), range(6))  # that nobody has asked for its targets
    module.augment, module.workers = lambda images, random: images, 2
    loader = module.train_dataloader()
    monkeypatch.setattr(pl.Series, "explode", lambda *_: pytest.fail("a worker would compute"))
    assert [batch["target"].tolist() for batch in loader] == expected
