"""Facial expression recognition: train, sweep, evaluate and compare networks.

The public interface, stable within a major version:

    run = emotion.train(["data=fer2013", "data.root=~/fer2013", "model=resnet18"])
    model = emotion.load_run(run.path)
    model.predict(["face.jpg"])

Expressions are perceived ones: facial movements don't reliably reveal inner emotion (Barrett et al. 2019).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emotion.errors import ConfigError, DataError, EmotionError, RunError

if TYPE_CHECKING:
    from emotion.predictor import Predictor
    from emotion.runs import RunFolder

# Read by jemalloc when polars is imported: what polars frees goes back to the system at once, not half a second and
# another use later. Splitting would else leave hundreds of bytes an image.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

__all__ = ["ConfigError", "DataError", "EmotionError", "RunError", "load_run", "train"]


def train(overrides: Sequence[str] = ()) -> RunFolder:
    """Do one run, as `python train.py OVERRIDES` does: continue it where it was left, skip it where it is finished.

    Raises:
        ConfigError: the configuration has problems; the text lists them all.
        EmotionError: the data, the weights or the run are not what they should be.
    """
    from emotion.launch import compose

    config = compose(overrides)
    from emotion.training.train import train as train_one

    return train_one(config)


def load_run(path: str | Path) -> Predictor:
    """The trained network of a run folder, ready to predict.

    Raises:
        RunError: there is no run, or it has no weights that this version can read.
    """
    from emotion.predictor import Predictor

    return Predictor.from_run(path)
