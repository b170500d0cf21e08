"""Small data sets in the forms that users have, and stores made of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from emotion.data.images import ImageArray
from emotion.data.preparation import Preparation
from emotion.data.store import Store, prepare
from emotion.data.table import SampleTable

FER_FOLDERS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER_CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

MakeFrame = Callable[..., pl.DataFrame]
MakeTable = Callable[..., SampleTable]
MakeStore = Callable[..., Store]


@pytest.fixture
def make_frame() -> MakeFrame:
    """A store's frame from labels, and optionally groups, digests and splits."""

    def make(
        labels: Sequence[int],
        groups: Sequence[str | None] | None = None,
        digests: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        n = len(labels)
        return pl.DataFrame(
            {
                "id": [f"s{i:06d}" for i in range(n)],
                "label": list(labels),
                "split": splits if splits is not None else [None] * n,
                "group": groups if groups is not None else [None] * n,
                "digest": digests if digests is not None else [f"{i:016x}" for i in range(n)],
            },
            schema={
                "id": pl.String,
                "label": pl.Int64,
                "split": pl.String,
                "group": pl.String,
                "digest": pl.String,
            },
        )

    return make


@pytest.fixture
def make_table(make_frame: MakeFrame) -> MakeTable:
    """A sample table whose images are random, or all those given."""

    def make(
        labels: Sequence[int],
        images: np.ndarray | None = None,
        classes: Sequence[str] = ("neutral", "happiness", "sadness"),
        **columns: Sequence[str],
    ) -> SampleTable:
        if images is None:
            images = np.random.default_rng(0).integers(0, 256, (len(labels), 12, 12), dtype=np.uint8)
        frame = make_frame(labels, **columns).drop("digest")
        return SampleTable("small", tuple(classes), frame, ImageArray(images))

    return make


@pytest.fixture
def make_store(tmp_path: Path, make_table: MakeTable) -> MakeStore:
    """A prepared store of random images."""

    def make(labels: Sequence[int], size_px: int = 12, channels: int = 1, **more: object) -> Store:
        table = make_table(labels, **more)
        key = {"name": "small", "labels": list(labels), "more": str(sorted(more))}
        return prepare(lambda: table, key, Preparation(size_px, channels), tmp_path / "cache")

    return make


@pytest.fixture
def fer_folders(tmp_path: Path) -> Path:
    """FER2013's folder form in small: each class has 4 Training, 2 PublicTest and 2 PrivateTest images."""
    root = tmp_path / "fer2013"
    rng = np.random.default_rng(1)
    for label, folder in enumerate(FER_FOLDERS):
        for part, prefix, count in (
            ("train", "Training", 4),
            ("test", "PublicTest", 2),
            ("test", "PrivateTest", 2),
        ):
            place = root / part / folder
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (48, 48), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{prefix}_{label}{number}.jpg", quality=95)
    return root


@pytest.fixture
def fer_rows() -> list[tuple[str, str, str]]:
    """Rows of a small fer2013.csv: emotion, pixels, Usage; 4 Training, 2 PublicTest, 2 PrivateTest a class."""
    rng = np.random.default_rng(2)
    return [
        (str(label), " ".join(map(str, rng.integers(0, 256, 48 * 48))), usage)
        for usage, count in (("Training", 4), ("PublicTest", 2), ("PrivateTest", 2))
        for label in range(7)
        for _ in range(count)
    ]
