"""A data set: horizontal or vertical stripes, as happiness and sadness."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emotion.data.images import ImageArray
from emotion.data.table import SampleTable

NATURAL_SIZE_PX = 32
CHANNELS = 1


def signature(root: Path | None = None, **options: Any) -> str:
    return f"stripes-1-{options}"


def read(root: Path | None = None, count: int = 120) -> SampleTable:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    waves = np.sin(np.arange(32) / 2 + rng.uniform(0, 6, (count, 1)))
    images = np.where(labels[:, None, None] == 0, waves[:, :, None], waves[:, None, :]) + rng.normal(
        0, 0.3, (count, 32, 32)
    )
    frame = pl.DataFrame(
        {
            "id": [f"stripe-{i:04d}" for i in range(count)],
            "label": labels.astype(np.int64),
            "split": pl.Series([None] * count, dtype=pl.String),
            "group": pl.Series([None] * count, dtype=pl.String),
        }
    )
    pixels = np.clip(127 + 60 * images, 0, 255).astype(np.uint8)
    return SampleTable("stripes", ("happiness", "sadness"), frame, ImageArray(pixels))
