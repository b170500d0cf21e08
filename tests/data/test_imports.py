"""What opening, splitting and reading import: not torch, which takes seconds."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "albumentations", "cv2", "sklearn", "scipy", "pytorch_lightning")


def imported(module: str) -> list[str]:
    """Which of HEAVY a fresh interpreter has imported after importing `module`."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "module",
    [
        "emotion.data.table",
        "emotion.data.splits",
        "emotion.data.store",
        "emotion.data.sampling",
        "emotion.data.augment",
        "emotion.data.images",
        "emotion.data.readers.fer2013",
        "emotion.data.readers.lfw_ms",
        "emotion.data.readers.affectnet",
        "emotion.data.readers.expw",
        "emotion.data.readers.expw_cleaned",
        "emotion.data.readers.ferplus",
        "emotion.data.readers.raf_db",
        "emotion.data.readers.ck_plus",
        "emotion.data.readers.jaffe",
        "emotion.data.readers.class_folders",
        "emotion.data.readers.csv_table",
    ],
)
def test_nothing_heavy_is_imported(module: str) -> None:
    assert imported(module) == []


def test_a_heavy_import_would_be_noticed() -> None:
    assert imported("cv2") == ["cv2"]
