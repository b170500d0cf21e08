import hashlib
from pathlib import Path

import pytest

from emotion.errors import ConfigError
from emotion.launch import compose
from emotion.schema.learning import CallbacksConfig, EarlyStopping
from emotion.training.identity import digest, essence

DATA = "f" * 32


def identity(*overrides: str, fingerprint: str = DATA) -> str:
    return digest(essence(compose(overrides), fingerprint))


@pytest.mark.parametrize(
    "override",
    [
        "machine.workers=3",
        "machine.threads=1",
        "machine.runs_dir=/elsewhere",
        "machine.cache_dir=/elsewhere",
        "machine.devices=cpu",
        "force=true",
        "name=mine",
        "evaluation.test=false",
        "evaluation.batch_size=7",
        "data.root=/some/folder",
        "folds=7",
    ],
)
def test_what_does_not_change_the_run(override: str) -> None:
    assert identity(override) == identity()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "fold=0",
        "val_fraction=0.2",
        "data.batch_size=32",
        "data.split_seed=1",
        "data.count=100",
        "model=resnet18",
        "model.drop_rate=0.1",
        "model.freeze=[head]",
        "model.max_norm=3",
        "model.l2=0.1",
        "head=mlp",
        "head.pool=flatten",
        "augment=basic",
        "sampling=balanced",
        "loss.class_weights=balanced",
        "optimizer.lr=0.1",
        "optimizer.layer_decay=0.5",
        "schedule=constant",
        "trainer.max_epochs=3",
        "trainer.precision=fp32",
        "evaluation.tta=flip",
        "callbacks.early_stopping.patience=3",
        "preprocess.statistics=unit",
        "preprocess.crop_px=40",
        "preprocess=equalize",
        "loss=ldam",
        "loss.class_weights=effective",
        "trainer.mixup=0.2",
        "data.per_class=10",
        "data.protocol=leaky",
    ],
)
def test_what_does(override: str) -> None:
    assert identity(override) != identity()


def test_the_data_s_content_counts_not_its_place() -> None:
    assert identity(fingerprint="0" * 32) != identity()


def test_precision_enters_as_typed() -> None:
    """What `auto` comes to on a machine must not: it stands in environment.json."""
    assert essence(compose(["trainer.precision=bf16"]), DATA)["trainer"] == {"precision": "bf16"}
    assert "trainer" not in essence(compose(["trainer.precision=auto"]), DATA)


def test_folds_count_where_a_fold_is_chosen() -> None:
    assert identity("fold=0", "folds=7") != identity("fold=0", "folds=4")
    assert identity("fold=0", "val_fraction=0.3") == identity("fold=0")
    assert identity("val_fraction=0.3") != identity()


def test_a_new_key_at_its_default_orphans_no_run() -> None:
    """Only what differs from the defaults is hashed, so a key that doesn't exist yet can't matter."""
    assert essence(compose([]), DATA) == {
        "data": {"name": "drawn"},
        "preprocess": {"name": "default"},
        "model": {"name": "minivgg"},
        "head": {"name": "linear"},
        "augment": {"name": "none"},
        "sampling": {"name": "natural"},
        "loss": {"name": "cross_entropy"},
        "optimizer": {"name": "adamw"},
        "schedule": {"name": "cosine"},
        "data_fingerprint": DATA,
    }


def test_nor_does_one_in_a_group_within_a_group() -> None:
    class Later(EarlyStopping):
        warmup_epochs: int = 0

    class LaterCallbacks(CallbacksConfig):
        early_stopping: Later = Later()

    config = compose(["callbacks.early_stopping.patience=3"])
    at_default, changed = (
        config.model_copy(
            update={"callbacks": LaterCallbacks(early_stopping=Later(patience=3, warmup_epochs=n))}
        )
        for n in (0, 5)
    )
    assert essence(at_default, DATA) == essence(config, DATA)
    assert essence(changed, DATA)["callbacks"]["early_stopping"]["warmup_epochs"] == 5


def test_released_identities_stay() -> None:
    """Changing how they are made would orphan every run that users have: this text may not change."""
    text = (
        '{"augment": {"name": "none"}, "data": {"name": "drawn"}, "data_fingerprint": "' + DATA + '", '
        '"fold": 1, "folds": 4, "head": {"name": "linear"}, "loss": {"name": "cross_entropy"}, '
        '"model": {"name": "resnet18"}, "optimizer": {"lr": 0.01, "name": "adamw"}, '
        '"preprocess": {"name": "default"}, "sampling": {"name": "natural"}, "schedule": {"name": "constant"}}'
    )
    assert (
        identity("model=resnet18", "fold=1", "optimizer.lr=0.01", "schedule=constant")
        == hashlib.sha256(text.encode()).hexdigest()
    )
    early = "callbacks.early_stopping"
    assert identity(f"{early}.patience=3").startswith("1c9218f2afe1042c")
    assert identity(f"{early}.min_delta=0.1").startswith("c2295eaa72253413")
    assert identity(f"{early}.patience=3", f"{early}.min_delta=0.01").startswith("8467762147f6cfdf")


def test_weights_count_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"one")
    (tmp_path / "b.pt").write_bytes(b"one")
    (tmp_path / "c.pt").write_bytes(b"two")
    a, b, c = (identity(f"model.weights={tmp_path}/{n}.pt") for n in "abc")
    assert a == b != c
    with pytest.raises(ConfigError, match=r"model.weights: expected a file that can be read"):
        identity(f"model.weights={tmp_path}/none.pt")
