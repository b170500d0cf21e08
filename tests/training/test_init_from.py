"""Starting from another run's weights, and training in two stages."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import emotion
from emotion.data import mimic
from emotion.data.dataset import open_store, split_store
from emotion.errors import RunError
from emotion.launch import compose
from emotion.models import network as door
from emotion.models.classifier import ExpressionClassifier
from emotion.runs import RunFolder
from emotion.schema.model import HeadConfig, LinearHead, MlpHead, ModelConfig
from emotion.training import checkpoint, init_from
from emotion.training.identity import digest, essence
from tests.training.conftest import TINY

Train = Callable[..., RunFolder]
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> RunFolder:
    """A finished run of another normalisation than its training part's."""
    here = [f"machine.runs_dir={tmp_path_factory.mktemp('source')}", f"machine.cache_dir={cache_dir}"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("emotion.training.scoring.write_figures", lambda *_: None)
        return emotion.train([*TINY, *here, "preprocess.statistics=unit", "trainer.max_epochs=1"])


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(run.checkpoint("best"))["state_dict"]


def tiny(classes: int, head: HeadConfig | None = None, name: str = "test_resnet") -> door.Network:
    return door.build(ModelConfig(name=name), head or LinearHead(), classes, 32)


def saved(network: door.Network, classes: tuple[str, ...]) -> dict:
    return {"state_dict": network.state_dict(), "classes": list(classes), "network": network.description}


def test_a_run_goes_on_from_another_s_weights_and_normalisation(run: Train, source: RunFolder) -> None:
    frozen = run(
        f"model.init_from={source.path}",
        "model.freeze=[backbone]",
        "trainer.max_epochs=1",
        "optimizer.lr=1e-9",
    )
    first, then = weights(source), weights(frozen)
    assert all(torch.equal(first[key], then[key]) for key in first if key.startswith("backbone."))
    torch.testing.assert_close(then["head.1.weight"], first["head.1.weight"], atol=1e-6, rtol=0)
    assert checkpoint.load_weights(frozen.checkpoint("best"))["device"]["mean"] == [0.0, 0.0, 0.0]
    assert "(backbone and head)" in frozen.file("log.txt").read_text()
    assert "of them frozen" in frozen.file("log.txt").read_text()
    head = sum(tensor.numel() for key, tensor in then.items() if key.startswith("head."))
    assert frozen.metrics["cost"]["trainable"] == head
    assert torch.load(frozen.checkpoint("best"), weights_only=True)["config"]["model"]["init_from"] is None


def test_the_other_run_s_identity_counts_not_its_place(source: RunFolder, tmp_path: Path) -> None:
    def identity(path: Path) -> str:
        return digest(essence(compose([f"model.init_from={path}"]), "f" * 32))

    shutil.copytree(source.path, tmp_path / "elsewhere (1)")
    assert identity(tmp_path / "elsewhere (1)") == identity(source.path)
    assert identity(source.path) != digest(essence(compose([]), "f" * 32))
    status = (tmp_path / "elsewhere (1)" / "status.json").read_text()
    other = status.replace(source.status["identity"], "0" * 64)
    (tmp_path / "elsewhere (1)" / "status.json").write_text(other)
    assert identity(tmp_path / "elsewhere (1)") != identity(source.path)


def test_an_unfinished_run_is_refused(source: RunFolder, tmp_path: Path, run: Train) -> None:
    shutil.copytree(source.path, tmp_path / "copy")
    text = (tmp_path / "copy" / "status.json").read_text()
    (tmp_path / "copy" / "status.json").write_text(text.replace('"finished",', '"running",', 1))
    with pytest.raises(
        RunError, match=r"model.init_from: expected a finished run, found .* in the state running"
    ):
        run(f"model.init_from={tmp_path}/copy")
    with pytest.raises(RunError, match=r"model.init_from: expected a run folder, found nothing"):
        run(f"model.init_from={tmp_path}/nowhere")
    assert not (tmp_path / "runs").exists()


def test_a_run_without_its_weights_is_refused(source: RunFolder, tmp_path: Path, run: Train) -> None:
    shutil.copytree(source.path, tmp_path / "copy")
    (tmp_path / "copy" / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(RunError, match=r"expected a run with its weights.*force=true"):
        run(f"model.init_from={tmp_path}/copy")


def test_another_network_is_refused(source: RunFolder, run: Train) -> None:
    with pytest.raises(
        RunError, match=r"of resnet10t \(48 px, in_chans 3\), found one of test_resnet \(48 px"
    ):
        run(f"model.init_from={source.path}", "model=resnet10t")


def test_weights_that_saw_the_judging_images_are_refused(source: RunFolder, run: Train) -> None:
    """A fold validates on images that the hold-out run trained on. The same images in other parts are fine."""
    with pytest.raises(RunError, match=r"kept aside the \d+ images .* among its training images \(the first"):
        run(f"model.init_from={source.path}", "fold=0", "folds=2")
    with pytest.MonkeyPatch.context() as patched:  # the sabotage: without the check it would train
        patched.setattr(init_from, "refuse_seen_images", lambda *_: None)
        assert run(f"model.init_from={source.path}", "fold=0", "folds=2", "trainer.max_epochs=1").finished


def test_a_chain_of_runs_remembers_the_first(source: RunFolder, run: Train, tmp_path: Path) -> None:
    """Between them lies a run on other data, whose own images don't matter."""
    between = run(f"model.init_from={source.path}", "data.seed=7", "trainer.max_epochs=1")
    with pytest.raises(RunError, match="among its training images"):
        run(f"model.init_from={between.path}", "fold=0", "folds=2")
    beside = between.path.parent / source.path.name
    shutil.move(source.path, beside)  # moved to where this one lies
    try:
        with pytest.raises(RunError, match="among its training images"):
            run(f"model.init_from={between.path}", "fold=0", "folds=2")
    finally:
        shutil.move(beside, source.path)
    shutil.move(source.path, tmp_path / "gone")  # then nothing is known of it
    try:
        with pytest.raises(RunError, match="which is gone or no run, so that nobody can say"):
            run(f"model.init_from={between.path}", "fold=0", "folds=2", "trainer.max_epochs=1")
        shutil.move(between.path, source.path)  # renamed to what it started from
        with pytest.raises(RunError, match="which is gone or no run, so that nobody can say"):
            init_from.ancestors(RunFolder.open(source.path))
        shutil.move(source.path, between.path)
    finally:
        shutil.move(tmp_path / "gone", source.path)


Start = Callable[..., None]


@pytest.fixture(params=["the cache is there", "the cache is gone"])
def cached(request: pytest.FixtureRequest) -> bool:
    return str(request.param).endswith("there")


@pytest.fixture
def start(tmp_path: Path, cache_dir: Path) -> Start:
    """Checks whether a run on the given data may start from another; without the other's prepared data if asked."""

    def check(earlier: RunFolder, *data: str, cached: bool = True) -> None:
        config = compose([*data, f"machine.cache_dir={cache_dir}"])
        store = open_store(config.data, config.preprocess, cache_dir)
        if not cached:
            copy = RunFolder(
                Path(shutil.copytree(earlier.path, tmp_path / "copies" / earlier.name, dirs_exist_ok=True))
            )
            text = copy.file("config.yaml").read_text()
            assert str(cache_dir) in text
            copy.file("config.yaml").write_text(text.replace(str(cache_dir), str(tmp_path / "nothing")))
            earlier = copy
        init_from.refuse_seen_images(earlier.path, split_store(config, store), store)

    return check


@pytest.fixture
def train_on(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """As `run`, on data that isn't drawn."""
    monkeypatch.setattr("emotion.training.scoring.write_figures", lambda *_: None)
    tiny = [key for key in TINY if not key.startswith("data.") and not key.startswith("trainer.max")]
    here = [f"machine.runs_dir={tmp_path}/runs", f"machine.cache_dir={cache_dir}", "trainer.max_epochs=1"]
    return lambda *overrides: emotion.train([*tiny, *here, *overrides])


def test_another_folder_is_another_data_set(
    train_on: Train, start: Start, tmp_path: Path, cached: bool
) -> None:
    for seed, name in enumerate(("one", "other")):
        mimic.draw("folder", tmp_path / name, 140, seed)
    earlier = train_on("data=folder", f"data.root={tmp_path}/one")
    other = ("data=folder", f"data.root={tmp_path}/other", "fold=0", "folds=2")
    if cached:
        start(earlier, *other)  # files of the same names, other pictures
    for file in (tmp_path / "other").rglob("*.png"):
        file.rename(file.with_stem(f"other {file.stem}"))
    start(earlier, *other, cached=cached)
    with pytest.raises(RunError, match="among its training images"):
        start(earlier, "data=folder", f"data.root={tmp_path}/one", "fold=0", "folds=2", cached=cached)


def test_the_same_names_of_other_pictures_hide_nothing(train_on: Train, start: Start, tmp_path: Path) -> None:
    """Two folders with the same file names in each part; what the one trains on the other is tested on."""
    noise = np.random.default_rng(0)
    swapped = {"train": "test", "test": "train", "val": "val"}
    for part, kind, number in itertools.product(swapped, "ab", range(10)):
        face = noise.integers(0, 256, (48, 48), dtype=np.uint8)
        for root, its_part in (("one", part), ("other", swapped[part])):
            file = tmp_path / root / its_part / kind / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(file), face)
    earlier = train_on("data=folder", f"data.root={tmp_path}/one")
    start(earlier, "data=folder", f"data.root={tmp_path}/one")
    with pytest.raises(RunError, match="found 20 of them among its training images"):
        start(earlier, "data=folder", f"data.root={tmp_path}/other")


def test_the_same_pictures_are_noticed_under_any_name(train_on: Train, start: Start, tmp_path: Path) -> None:
    for form in ("folder", "csv"):
        mimic.draw(form, tmp_path / form, 140)
    earlier = train_on("data=folder", f"data.root={tmp_path}/folder")
    listed = ("data=csv", f"data.root={tmp_path}/csv")
    with pytest.raises(RunError, match=r"among its training images \(the first: pictures/a, b \d+.png"):
        start(earlier, *listed, "fold=0", "folds=2")
    start(earlier, *listed, "data.split=split")  # the parts of the folder


def test_the_same_faces_cut_out_otherwise_are_noticed(train_on: Train, start: Start, tmp_path: Path) -> None:
    """Their pixels differ; their place and ids do not."""
    mimic.draw("affectnet", tmp_path / "affectnet", 160)
    data = ("data=affectnet", f"data.root={tmp_path}/affectnet", "preprocess.size_px=48")
    earlier = train_on(*data)
    (tmp_path / "link").symlink_to(tmp_path / "affectnet")
    for root in ("affectnet", "link"):
        with pytest.raises(RunError, match="among its training images"):
            start(earlier, *data, f"data.root={tmp_path}/{root}", "data.crop=whole", "fold=0", "folds=2")


def test_pictures_of_a_table_cut_out_otherwise_are_refused(
    train_on: Train, start: Start, tmp_path: Path
) -> None:
    """Neither ids nor pixels are those that were trained on, and the faces are."""
    mimic.draw("csv", tmp_path / "csv", 140)
    table = next((tmp_path / "csv").glob("*.csv"))
    lines = table.read_text().splitlines()
    boxes = ["l,t,r,b", *["4,4,40,40"] * (len(lines) - 1)]
    table.write_text("\n".join(f"{line},{box}" for line, box in zip(lines, boxes, strict=True)))
    data = ("data=csv", f"data.root={table}")
    with pytest.raises(RunError, match="was trained on csv in another form"):
        start(train_on(*data), *data, "data.box=[l,t,r,b]", "fold=0", "folds=2")


def test_fer2013_and_ferplus_are_the_same_pictures(
    train_on: Train, start: Start, tmp_path: Path, cached: bool
) -> None:
    """Where FER2013 itself has a picture in two parts, the published split isn't refused."""
    mimic.draw("ferplus", tmp_path / "fer", 140)
    table = tmp_path / "fer" / "fer2013.csv"
    rows = table.read_text().splitlines()
    train, test = rows[1].split(","), rows[1 + 3 * 7].split(",")
    assert (train[2], test[2]) == ("Training", "PrivateTest")
    rows[1 + 3 * 7] = ",".join([test[0], train[1], test[2]])
    table.write_text("\n".join(rows))
    root = f"data.root={tmp_path}/fer"
    start(train_on("data=fer2013", root), "data=ferplus", root, cached=cached)
    with pytest.raises(RunError, match=r"among its training images \(the first: row-"):
        start(train_on("data=fer2013", root, "fold=0", "folds=2"), "data=ferplus", root, cached=cached)


def test_expw_cleaned_is_known_to_be_made_of_expw_s_pictures(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that weights which have seen the one aren't judged by the other."""
    config = compose([*TINY, f"machine.cache_dir={cache_dir}"])
    drawn = open_store(config.data, config.preprocess, cache_dir)
    facts = {"data": {"name": "expw", "fingerprint": "another"}, "hash": {"train": "another"}}
    run: Any = SimpleNamespace(
        name="r", splits=facts, config={"data": {"root": "/expw"}}, has=lambda _: False
    )
    facts_of_the_store = {"frame": drawn.frame, "fingerprint": "this", "manifest": {"key": {"root": "/c"}}}
    store: Any = SimpleNamespace(name="expw_cleaned", **facts_of_the_store)
    monkeypatch.setattr(init_from, "at_hand", lambda *_: None)
    with pytest.raises(RunError, match="expected a run that kept aside"):
        init_from._refuse_seen_by(run, split_store(config, drawn), store)
    store.name = "jaffe"
    init_from._refuse_seen_by(run, split_store(config, drawn), store)


def test_another_form_of_a_published_data_set_is_refused(
    train_on: Train, start: Start, tmp_path: Path, cached: bool
) -> None:
    """jpg files share neither pixels nor names with the csv, and may be the same pictures in other parts."""
    mimic.draw("fer2013", tmp_path / "folders", 140)
    mimic.draw("ferplus", tmp_path / "table", 140)  # with the csv of FER2013
    earlier = train_on("data=fer2013", f"data.root={tmp_path}/folders")
    with pytest.raises(RunError, match="was trained on fer2013 in another form"):
        start(earlier, "data=fer2013", f"data.root={tmp_path}/table", "fold=0", "folds=2", cached=cached)


@pytest.mark.parametrize("head", [LinearHead(), MlpHead(hidden=[5], batch_norm=True)])
def test_the_head_s_rows_follow_their_classes(head: HeadConfig) -> None:
    torch.manual_seed(0)
    old, new = tiny(3, head).eval(), tiny(4, head).eval()
    theirs, ours = ("a", "b", "c"), ("x", "c", "y", "a")
    fresh = new.state_dict()
    first = {key: tensor.clone() for key, tensor in fresh.items()}
    assert init_from.start_from(new, ours, saved(old, theirs)) == "backbone, and the head for 2 of 4 classes"
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(new(x)[:, [3, 1]], old(x)[:, [0, 2]])
    last = [key for key in first if key.startswith("head.")][-2]
    assert torch.equal(new.state_dict()[last][[0, 2]], first[last][[0, 2]])  # new classes start as they would


def test_the_same_classes_in_another_order_are_not_mixed_up() -> None:
    torch.manual_seed(0)
    old, new = tiny(3).eval(), tiny(3).eval()
    init_from.start_from(new, ("c", "a", "b"), saved(old, CLASSES))
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(new(x), old(x)[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("head", "classes"), [(MlpHead(hidden=[5]), CLASSES), (LinearHead(), ("x", "y", "z"))]
)
def test_a_head_that_does_not_fit_starts_anew(head: HeadConfig, classes: tuple[str, ...]) -> None:
    new = tiny(3, head)
    before = {key: tensor.clone() for key, tensor in new.head.state_dict().items()}
    assert init_from.start_from(new, classes, saved(tiny(3), CLASSES)) == "backbone, with a new head"
    assert all(torch.equal(tensor, before[key]) for key, tensor in new.head.state_dict().items())


def test_two_stages_in_one_run(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen in the first two epochs, trained from the third on; the optimizer knows all weights from the start."""
    seen: list[torch.Tensor] = []
    start = ExpressionClassifier.on_train_epoch_end

    def note(self: ExpressionClassifier) -> None:
        seen.append(self.network.state_dict()["backbone.bn1.running_mean"].clone())
        seen.append(self.network.state_dict()["backbone.layer1.0.conv1.weight"].clone())
        start(self)

    monkeypatch.setattr(ExpressionClassifier, "on_train_epoch_end", note)
    done = run("model.freeze=[backbone]", "model.freeze_epochs=2", "trainer.max_epochs=3")
    means, kernels = seen[::2], seen[1::2]
    assert torch.equal(means[0], means[1])
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(means[1], means[2])
    assert not torch.equal(kernels[1], kernels[2])
    assert "frozen until epoch 3" in done.file("log.txt").read_text()
    assert done.metrics["cost"]["trainable"] == done.metrics["cost"]["parameters"]


def test_max_norm_holds_after_training(run: Train) -> None:
    bounded = run(
        "model.max_norm=0.2", "model.max_norm_layers=[head]", "trainer.max_epochs=1", "optimizer.lr=0.05"
    )
    free = run("trainer.max_epochs=1", "optimizer.lr=0.05")
    assert weights(bounded)["head.1.weight"].norm(dim=1).max() <= 0.2 + 1e-6
    assert weights(free)["head.1.weight"].norm(dim=1).max() > 0.2


def test_max_norm_leaves_frozen_layers_alone(run: Train) -> None:
    frozen = ("model.freeze=[backbone]", "trainer.max_epochs=1")
    free, bounded = weights(run(*frozen)), weights(run(*frozen, "model.max_norm=0.05"))
    backbone = [key for key in free if key.startswith("backbone") and key.endswith("weight")]
    assert all(torch.equal(free[key], bounded[key]) for key in backbone)
    assert bounded["head.1.weight"].norm(dim=1).max() <= 0.05 + 1e-6


def test_l2_is_added_to_the_gradient_not_to_the_shown_loss(run: Train) -> None:
    """One step of plain SGD: with l2, each kernel of the chosen layers moves by −lr · 2 · l2 · w more."""
    one_step = ("trainer.max_epochs=1", "trainer.limit_train_batches=1", "optimizer=sgd", "optimizer.lr=0.1",
                "optimizer.momentum=0", "optimizer.nesterov=false", "schedule=constant")  # fmt: skip
    plain = run(*one_step)
    with_l2 = run(*one_step, "model.l2=0.5", "model.l2_layers=[head]")
    config = compose([*TINY, *one_step])
    torch.manual_seed(config.seed)
    first = door.build(config.model, config.head, 7, 48).state_dict()["head.1.weight"]
    expected = weights(plain)["head.1.weight"] - 0.1 * 2 * 0.5 * first
    torch.testing.assert_close(weights(with_l2)["head.1.weight"], expected)
    assert torch.equal(weights(with_l2)["head.1.bias"], weights(plain)["head.1.bias"])
    assert torch.equal(
        weights(with_l2)["backbone.layer1.0.conv1.weight"], weights(plain)["backbone.layer1.0.conv1.weight"]
    )
    assert with_l2.history()["train/loss"].to_list() == plain.history()["train/loss"].to_list()
