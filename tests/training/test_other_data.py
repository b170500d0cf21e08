"""A run scored on another data set, from the training to the table."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import balanced_accuracy_score
from typer.testing import CliRunner

import emotion
from emotion.cli import app
from emotion.data.dataset import open_prepared
from emotion.errors import ConfigError, DataError, EmotionError, RunError
from emotion.evaluation import metrics, predictions
from emotion.labels import EXPRESSIONS
from emotion.launch import compose
from emotion.runs import RunFolder
from emotion.training.other_data import OtherScore, score_other

Train = Callable[..., RunFolder]
OTHER = ("data.count=160", "data.imbalance=0", "data.seed=7", "data.size_px=64", "machine.devices=cpu")


def moved(run: RunFolder, cache_dir: Path, *overrides: str, part: str | None = None) -> OtherScore:
    config = compose([*OTHER, f"machine.cache_dir={cache_dir}", *overrides])
    return score_other(run, config.data, config.machine, part)


@pytest.fixture
def eight(run: Train) -> RunFolder:
    return run("data.classes=8", "data.count=160", "trainer.max_epochs=1")


def test_eight_classes_on_seven(eight: RunFolder, cache_dir: Path) -> None:
    found = moved(eight, cache_dir)
    assert found.unused == ("contempt",)
    assert found.left_out == {}
    assert len(found.table) == 160
    assert found.table.classes == tuple(n for n in eight.splits["data"]["classes"] if n != "contempt")
    # again, image by image through the public door, and by hand
    config = compose(list(OTHER))
    model = emotion.load_run(eight.path)
    store = open_prepared(config.data, model.preparation, cache_dir)
    assert store.size_px == 48  # as the run's, not as this data's
    assert found.path == eight.file("predictions") / f"drawn-all-{store.fingerprint[:8]}.parquet"
    answers = model.predict([np.asarray(image) for image in store.images])
    expected = np.array([[a.probabilities[name] for name in found.table.classes] for a in answers])
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.table.probabilities, expected, atol=1e-5)
    truth = [found.table.classes.index(store.classes[label]) for label in store.labels]
    assert found.table.labels.tolist() == truth
    scores = metrics.compute(found.table.labels, found.table.probabilities, found.table.classes)
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, expected.argmax(1)))


def test_seven_classes_on_eight(finished: RunFolder, cache_dir: Path) -> None:
    found = moved(finished, cache_dir, "data.classes=8")
    config = compose([*OTHER, "data.classes=8"])
    store = open_prepared(config.data, emotion.load_run(finished.path).preparation, cache_dir)
    contempt = int((store.labels == store.classes.index("contempt")).sum())
    assert contempt > 0
    assert found.left_out == {"contempt": contempt}
    assert len(found.table) == 160 - contempt
    assert "contempt" not in found.table.classes
    kept = store.frame.filter(pl.col("label") != store.classes.index("contempt"))
    assert set(found.table.ids) == set(kept["id"])
    names = dict(zip(store.frame["id"], np.array(store.classes)[store.labels], strict=True))
    assert all(
        found.table.classes[k] == names[i] for i, k in zip(found.table.ids, found.table.labels, strict=True)
    )
    found.path.unlink()


def test_numbers_instead_of_names_would_be_noticed(eight: RunFolder, cache_dir: Path) -> None:
    """The sabotage: sets number their classes differently, so a shared number means another expression."""
    found = moved(eight, cache_dir, "data.classes=[anger,happiness,neutral]")
    assert found.table.classes == tuple(n for n in EXPRESSIONS if n in ("neutral", "happiness", "anger"))
    config = compose([*OTHER, "data.classes=[anger,happiness,neutral]"])
    store = open_prepared(config.data, emotion.load_run(eight.path).preparation, cache_dir)
    assert (found.table.labels != store.labels).any()
    assert [found.table.classes[k] for k in found.table.labels] == [store.classes[k] for k in store.labels]


def test_the_command_names_what_is_shared(finished: RunFolder, cache_dir: Path) -> None:
    arguments = ["evaluate", str(finished.path), "data=drawn", *OTHER, "data.classes=8"]
    done = CliRunner().invoke(app, [*arguments, f"machine.cache_dir={cache_dir}"], catch_exceptions=False)
    assert done.exit_code == 0
    (written,) = finished.file("predictions").glob("drawn-all-*.parquet")
    table = predictions.read(written)
    assert f"shared classes: {', '.join(table.classes)}" in done.output
    assert "contempt (" in done.output
    assert "of the data: " in done.output  # what must be known wherever the scores show
    accuracy = (table.predicted == table.labels).mean()
    assert f"{100 * accuracy:.1f}" in done.output
    written.unlink()


def test_images_it_has_learnt_from_are_counted(finished: RunFolder, cache_dir: Path) -> None:
    """The run's own faces under other labels: a data set of another fingerprint with the same pixels."""
    found = moved(
        finished, cache_dir, "data.count=140", "data.seed=0", "data.size_px=48", "data.label_noise=0.5"
    )
    splits = finished.splits["counts"]
    learnt = sum(splits["train"].values()) + sum(splits["val"].values())
    assert (found.seen, found.all_known) == (learnt, True)
    other = moved(finished, cache_dir)
    assert (other.seen, other.all_known) == (0, True)
    assert found.path.is_file()  # one data set's table doesn't replace another's
    for each in (found, other):
        each.path.unlink()


def test_images_that_an_earlier_run_has_learnt_from_are_counted(
    finished: RunFolder, run: Train, cache_dir: Path, tmp_path: Path
) -> None:
    """The weights come from a run on the data that is scored now."""
    first = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "first")))
    then = run(f"model.init_from={first.path}", "data.seed=7", "trainer.max_epochs=1")
    same = ("data.count=140", "data.seed=0", "data.size_px=48")
    learnt = sum(sum(first.splits["counts"][part].values()) for part in ("train", "val"))
    assert moved(then, cache_dir, *same).seen == learnt
    shutil.rmtree(first.path)
    found = moved(then, cache_dir, *same)
    assert (found.seen, found.all_known) == (0, False)
    # as if that one's images were of another size, so that their pixels can't be compared
    shutil.copytree(run("preprocess.size_px=40", "trainer.max_epochs=1").path, first.path)
    found = moved(then, cache_dir, *same)
    assert (found.seen, found.all_known) == (0, False)


def test_what_is_known_of_a_chain_is_told_where_its_first_run_is_gone(
    finished: RunFolder, run: Train, cache_dir: Path, tmp_path: Path
) -> None:
    first = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "gone")))
    second = run(f"model.init_from={first.path}", "data.seed=7", "trainer.max_epochs=1")
    third = run(f"model.init_from={second.path}", "data.seed=8", "trainer.max_epochs=1")
    learnt = sum(sum(second.splits["counts"][part].values()) for part in ("train", "val"))
    again = (
        "data=drawn",
        "data.count=140",
        "data.seed=7",
        "data.imbalance=0",
        "data.size_px=48",
        "data.label_noise=0.5",
    )
    shutil.rmtree(first.path)
    line = ["evaluate", str(third.path), *again, f"machine.cache_dir={cache_dir}"]
    done = CliRunner().invoke(app, line, catch_exceptions=False)
    assert f"at least {learnt:,} of these images have the pixels of one" in done.output
    assert "trained on more of these images is not known" in done.output


@pytest.mark.parametrize(
    ("overrides", "part", "error", "said"),
    [
        (("data.count=140", "data.seed=0", "data.size_px=48"), None, RunError, "found the same"),
        ((), "test", DataError, "expected one of all"),
        (("data.classes={a:[anger],b:[fear]}",), None, DataError, "share none"),
    ],
)
def test_what_can_not_be_scored(
    finished: RunFolder, cache_dir: Path, overrides: tuple[str, ...], part: str | None, error: type, said: str
) -> None:
    with pytest.raises(error, match=said):
        moved(finished, cache_dir, *overrides, part=part)
    assert {p.stem for p in finished.file("predictions").iterdir()} == {"val", "test"}


def test_a_key_that_belongs_to_the_run_is_refused(finished: RunFolder) -> None:
    with pytest.raises(ConfigError, match="model=resnet18"):
        CliRunner().invoke(
            app, ["evaluate", str(finished.path), "data=drawn", "model=resnet18"], catch_exceptions=False
        )
    with pytest.raises(
        ConfigError, match=r"keys of data, machine, found 'preprocess=clahe'. Images are prepared"
    ):
        CliRunner().invoke(
            app, ["evaluate", str(finished.path), "data=drawn", "preprocess=clahe"], catch_exceptions=False
        )
    with pytest.raises(EmotionError, match="expected a folder, or data=NAME"):
        CliRunner().invoke(
            app, ["evaluate", str(finished.path), "machine.devices=cpu"], catch_exceptions=False
        )


@pytest.mark.slow
def test_fer2013_on_lfw_ms(emotion_data: Path, tmp_path: Path) -> None:
    """A tiny network on FER2013, scored on LFW-MS by the seven classes that both have."""
    here = [f"machine.runs_dir={tmp_path}/runs", f"machine.cache_dir={tmp_path}/cache", "machine.threads=1"]
    tiny = [
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=60",
        "trainer.precision=fp32",
        "machine.devices=cpu",
    ]
    run = emotion.train(
        ["data=fer2013", f"data.root={emotion_data}/fer2013", "model=test_resnet", *tiny, *here]
    )
    config = compose(["data=lfw_ms", f"data.root={emotion_data}/lfw_ms", *here])
    found = score_other(run, config.data, config.machine)
    assert re.fullmatch(r"lfw_ms-all-[0-9a-f]{8}\.parquet", found.path.name)
    assert found.left_out == {"contempt": 9}
    assert found.unused == ()
    assert len(found.table) == 12_758 - 9
    assert found.table.classes == tuple(run.splits["data"]["classes"])
    assert found.seen == 0
    counts = dict(zip(found.table.classes, np.bincount(found.table.labels).tolist(), strict=True))
    assert counts["happiness"] == 5_306
    assert counts["neutral"] == 6_713
    # better than chance across data sets, although it has seen 60 batches
    happy = found.table.classes.index("happiness")
    p = found.table.probabilities[:, happy]
    assert p[found.table.labels == happy].mean() > p[found.table.labels != happy].mean()
