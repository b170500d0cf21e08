"""Runs on data that was balanced before the split: study C's leaky protocol and study D's subset."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import emotion
from emotion.evaluation import predictions
from emotion.reporting.report import write_report
from emotion.runs import RunFolder

from .conftest import TINY

Train = Callable[..., RunFolder]


@pytest.fixture
def fer_root(tmp_path: Path) -> Path:
    """FER2013's folder form in small: each class has 16 Training, 6 PublicTest and 5 PrivateTest images."""
    rng = np.random.default_rng(1)
    root = tmp_path / "fer2013"
    for label, folder in enumerate(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")):
        for part, prefix, count in (
            ("train", "Training", 16),
            ("test", "PublicTest", 6),
            ("test", "PrivateTest", 5),
        ):
            place = root / part / folder
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (48, 48), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{prefix}_{label}{number:02d}.jpg", quality=95)
    return root


@pytest.fixture
def run_fer(run: Train, fer_root: Path, cache_dir: Path, tmp_path: Path) -> Train:
    """As `run`, which also keeps figures away, on 20 images a class of that folder."""
    options = [option for option in TINY if option not in ("data.count=140", "data.imbalance=0")]
    data = (
        "data=fer2013",
        f"data.root={fer_root}",
        "data.per_class=20",
        "test_fraction=0.2",
        "val_fraction=0.2",
    )
    here = (f"machine.runs_dir={tmp_path}/runs", f"machine.cache_dir={cache_dir}")
    return lambda *overrides: emotion.train([*options, *data, *here, *overrides])


def test_a_leaky_run_says_so_wherever_its_numbers_show(run: Train, tmp_path: Path) -> None:
    leaky = run("data.protocol=leaky", "data.imbalance=3")
    assert leaky.name.startswith("drawn_leaky-test_resnet-")
    assert leaky.metrics["protocol"] == leaky.splits["protocol"] == "leaky"
    assert predictions.read(leaky.predictions("test")).meta.data == "drawn_leaky"
    assert "leaky test: accuracy" in leaky.file("log.txt").read_text()
    assert any("Leaky protocol" in note for note in leaky.splits["data"]["notes"])
    assert leaky.file("report.html").read_text().count("Leaky protocol") >= 2
    honest = run("data.imbalance=3", "sampling=oversample", "sampling.augmented=copies", "augment=basic")
    assert "protocol" not in honest.metrics
    assert "Leaky protocol" not in honest.file("report.html").read_text()
    both = write_report([leaky, honest], tmp_path / "both.html").read_text()
    assert "drawn_leaky" in both
    assert "(leaky)" in both or "data.protocol=leaky" in both


def test_a_balanced_subset_is_scored_on_its_own_test_part_and_on_the_published_one(
    run_fer: Train,
) -> None:
    found = run_fer("preprocess=edges", "trainer.mixup=0.2", "loss=balanced_softmax")
    sizes = {
        part: len(predictions.read(found.predictions(part))) for part in ("val", "test", "official_test")
    }
    assert sizes == {"val": 21, "test": 28, "official_test": 35}
    assert found.splits["per_class"] == 20
    for part in sizes:
        table = predictions.read(found.predictions(part))
        right = (table.probabilities.argmax(1) == table.labels).mean()
        assert found.metrics[part]["accuracy"] == pytest.approx(right)
    published = predictions.read(found.predictions("official_test")).ids
    assert all("PrivateTest" in name for name in published)
    assert "official test: accuracy" in found.file("log.txt").read_text()
    assert "official test" in found.file("report.html").read_text()


def test_both_test_parts_can_be_added_later(run_fer: Train) -> None:
    without = run_fer("trainer.max_epochs=1", "evaluation.test=false")
    assert not without.has("test")
    assert not without.has("official_test")
    added = run_fer("trainer.max_epochs=1")
    assert added.path == without.path
    assert added.has("test")
    assert {"test", "official_test"} <= set(added.metrics)
