"""The PNG files: what was given is what can be seen, and nothing global is touched."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from emotion.errors import EmotionError
from emotion.reporting import figures
from tests.reporting import fakes

LABELS = fakes.labels_of(400, fakes.FER2013)
SCORES = fakes.probabilities_of(LABELS, fakes.FER2013)
FACE = np.linspace(0, 255, 48 * 48).reshape(48, 48).astype(np.uint8)
COUNTS = np.bincount(LABELS * 7 + SCORES.argmax(axis=1), minlength=49).reshape(7, 7)

ALL: dict[str, Callable[[Path], Path]] = {
    "learning_curves": lambda path: figures.learning_curves(fakes.history_of(12, 0.6), path, best_epoch=9),
    "confusion_matrix": lambda path: figures.confusion_matrix(COUNTS, fakes.FER2013, path),
    "class_distribution": lambda path: figures.class_distribution(
        {"train": [40, 3, 41, 72, 48, 31, 49], "val": [4, 0, 4, 8, 6, 4, 6]}, fakes.FER2013, path
    ),
    "reliability": lambda path: figures.reliability(LABELS, SCORES, path),
    "augmentation_grid": lambda path: figures.augmentation_grid(
        np.broadcast_to(FACE[..., None], (3, 5, 48, 48, 1)), path, ["anger", "fear", "neutral"]
    ),
    "mistakes": lambda path: figures.mistakes([FACE] * 8, ["fear"] * 8, ["anger"] * 8, [0.9] * 8, path),
}


@pytest.mark.parametrize("name", ALL)
def test_figure_is_a_png_with_something_on_it(name: str, tmp_path: Path) -> None:
    path = ALL[name](tmp_path / "figures" / f"{name}.png")
    pixels = np.asarray(Image.open(path).convert("L"))
    assert pixels.shape[0] > 250
    assert pixels.shape[1] > 400
    assert 0.005 < (pixels < 200).mean() < 0.9
    assert [file.name for file in path.parent.iterdir()] == [f"{name}.png"]  # no half-written file stays


def test_figures_need_no_pyplot_and_load_matplotlib_late() -> None:
    code = (
        "import sys\n"
        "from emotion.reporting import figures, report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import numpy as np, tempfile, pathlib\n"
        "figures.confusion_matrix(np.eye(3, dtype=int), list('abc'), pathlib.Path(tempfile.mkdtemp()) / 'a.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cell_is_darker_the_larger_its_share(tmp_path: Path) -> None:
    def darkest(counts: list[list[int]]) -> float:
        path = figures.confusion_matrix(np.array(counts), ["a", "b"], tmp_path / "m.png")
        pixels = np.asarray(Image.open(path).convert("L"), float)
        return float(pixels[int(0.15 * len(pixels)) : int(0.45 * len(pixels))].min(axis=1).mean())

    assert darkest([[98, 2], [50, 50]]) < darkest([[55, 45], [50, 50]]) - 20


def test_drawn_images_appear_unchanged(tmp_path: Path) -> None:
    """The grid shows the very pixels: a black and a white image are black and white."""
    images = np.stack([np.zeros((2, 48, 48, 3)), np.full((2, 48, 48, 3), 120)]).astype(np.uint8)
    path = figures.augmentation_grid(images, tmp_path / "grid.png")
    pixels = np.asarray(Image.open(path).convert("L"))
    assert (pixels == 0).mean() > 0.2
    assert (pixels == 120).mean() > 0.2


@pytest.mark.parametrize(
    "history",
    [
        pl.DataFrame({"epoch": [0], "val/loss": [1.5]}),
        pl.DataFrame({"epoch": [0, 1], "train/loss": [1.5, None], "val/accuracy": [None, 0.3]}),
        pl.DataFrame({"epoch": [], "val/loss": []}, schema={"epoch": pl.Int64, "val/loss": pl.Float64}),
    ],
)
def test_short_and_holed_histories(history: pl.DataFrame, tmp_path: Path) -> None:
    assert figures.learning_curves(history, tmp_path / "a.png").is_file()


def test_absent_classes_one_image_and_no_mistakes(tmp_path: Path) -> None:
    empty = np.zeros((3, 3), int)
    empty[0, 1] = 1
    assert figures.confusion_matrix(empty, ["a", "b", "c"], tmp_path / "a.png").is_file()
    assert figures.reliability(np.array([0]), np.array([[0.7, 0.3]]), tmp_path / "b.png").is_file()
    assert figures.class_distribution({"test": [0, 0]}, ["a", "b"], tmp_path / "c.png").is_file()
    assert figures.mistakes([], [], [], [], tmp_path / "d.png").is_file()


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmotionError, match=r"expected to write the figure .*file/a\.png, found"):
        figures.confusion_matrix(np.eye(2, dtype=int), ["a", "b"], tmp_path / "file" / "a.png")
