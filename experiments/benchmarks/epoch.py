"""Whole epochs, from the first image to the checkpoint."""

from typing import Any

from emotion.training.precision import cpu_has_bf16

from . import material
from .bench import (
    AUGMENTATION,
    KERAS,
    KERAS_GENERATOR,
    NO_GPU,
    OURS,
    OURS_FP32,
    PLAIN,
    PLAIN_ALONE,
    Bench,
    drawn,
    goals,
    has_gpu,
    recipe,
    run,
)
from .processes import Task
from .side_by_side import Comparison, Row, Unmeasured

FER2013_IMAGES, FER2013_TRAIN = 35_887, 28_709


def measure(bench: Bench) -> list[Comparison]:
    """Whole epochs of `minivgg` with validation and checkpoints, on FER2013 where it is, else on drawn faces."""
    batch = batch_size(bench)
    data, images = faces(bench)
    where = ["cpu", "cuda"] if has_gpu() else ["cpu"]
    found = [
        _comparison(device, images, batch, bench.measure(candidates(bench, data, device), warmups=0))
        for device in where
    ]
    if len(where) == 1:
        gone = bench.measure([Unmeasured(name, NO_GPU) for name in (OURS, PLAIN)])
        found.append(_comparison("cuda", images, batch, gone))
    return found


def batch_size(bench: Bench) -> int:
    return 8 if bench.quick else 128


def faces(bench: Bench) -> tuple[list[str], str]:
    """The overrides that choose the images, and what they are."""
    root = bench.data / "fer2013" if bench.data and not bench.quick else None
    if root is not None:
        return ["data=fer2013", f"data.root={root}"], "FER2013"
    count = 400 if bench.quick else FER2013_IMAGES
    return drawn(count, 48), f"{count:,} drawn faces (80 % train, 10 % validate)"


def candidates(bench: Bench, data: list[str], device: str) -> list[Task]:
    """All that train epochs."""
    fp32 = [*overrides(bench, data, device, bench.rounds), "trainer.precision=fp32"]
    more = [
        bench.task(OURS_FP32, "ours:epochs", overrides=fp32),
        bench.task(KERAS_GENERATOR, "keras_peer:epochs", how="generator", seed=0, **_keras(bench, data)),
    ]
    alone = bench.task(PLAIN_ALONE, "plain:epochs", workers=0, seed=0, device=device, **_peer(bench, data))
    found = [*main_candidates(bench, data, device, bench.rounds), alone]
    return [*found, *(more if device == "cpu" else [])]


def main_candidates(bench: Bench, data: list[str], device: str, epochs: int, seed: int = 0) -> list[Task]:
    """Ours as it comes, plain PyTorch and, on the CPU, Keras."""
    found = [
        bench.task(OURS, "ours:epochs", overrides=overrides(bench, data, device, epochs, seed)),
        bench.task(PLAIN, "plain:epochs", workers=2, seed=seed, device=device, **_peer(bench, data)),
    ]
    if device == "cpu":
        keras = bench.task(KERAS, "keras_peer:epochs", how="dataset", seed=seed, **_keras(bench, data))
        found.append(keras)
    return found


def overrides(bench: Bench, data: list[str], device: str, epochs: int, seed: int = 0) -> list[str]:
    """Of our run, which is ended from outside after `epochs`."""
    return run(
        *data,
        *recipe("minivgg", batch_size(bench), device),
        f"trainer.max_epochs={epochs + 1}",
        f"seed={seed}",
    )


def _peer(bench: Bench, data: list[str]) -> dict[str, Any]:
    folder = str(material.folders(data))
    return {"folder": folder, "network": "minivgg", "size": 48, "grey": True, "batch": batch_size(bench)}


def _keras(bench: Bench, data: list[str]) -> dict[str, Any]:
    return {"classes": 7, **_peer(bench, data)}


def _comparison(device: str, images: str, batch: int, rows: list[Row]) -> Comparison:
    for row in rows:
        for measured in row.rounds:
            measured.pop("accuracy", None)  # of unfinished training: the family accuracy tells it
    ours = tuple(row.name for row in rows if row.name in (OURS, OURS_FP32))
    wanted: dict[str, tuple[float | None, ...]] = {
        row.name: goals(cpu_has_bf16(), 3.0, 1.6) for row in rows if row.name not in ours and device == "cpu"
    }
    # 100 epochs in under 3 minutes
    limits = {OURS: FER2013_TRAIN * 100 / 180} if device == "cuda" else {}
    return Comparison(
        f"Whole epochs, minivgg on the {'GPU' if device == 'cuda' else 'CPU'}",
        f"{images}, 48 px, grey, batches of {batch}, Adam, {AUGMENTATION}; with validation and checkpoints. "
        "plain PyTorch with 2 workers unless its row says otherwise; ImageDataGenerator changes no contrast",
        "training images/s", "higher", rows, ours, wanted, limits,
    )  # fmt: skip
