"""Whole epochs, from the first image to the checkpoint, and what is learnt in them."""

from dataclasses import replace
from typing import Any

from . import material
from .bench import (
    AUGMENTATION,
    KERAS,
    KERAS_GENERATOR,
    NO_GPU,
    OURS,
    OURS_FP32,
    PLAIN,
    Bench,
    drawn,
    has_gpu,
    recipe,
    run,
)
from .side_by_side import Comparison, Row, Unmeasured

FER2013_IMAGES, FER2013_TRAIN = 35_887, 28_709


def measure(bench: Bench) -> list[Comparison]:
    """Whole epochs of `minivgg` with validation and checkpoints, on FER2013 where it is, else on drawn faces."""
    batch = 8 if bench.quick else 128
    root = bench.data / "fer2013" if bench.data and not bench.quick else None
    if root is not None and root.is_dir():
        data, images = ["data=fer2013", f"data.root={root}"], "FER2013"
    else:
        count = 400 if bench.quick else FER2013_IMAGES
        data, images = drawn(count, 48), f"{count:,} drawn faces (80 % train, 10 % validate)"
    rounds = bench.epochs or min(bench.rounds, 3)
    where = ["cpu", "cuda"] if has_gpu() else ["cpu"]
    found = [_epochs(bench, data, images, batch, rounds, device) for device in where]
    if len(where) == 1:
        gone = bench.measure([Unmeasured(name, NO_GPU) for name in (OURS, PLAIN)])
        found.append(_epoch_comparison("cuda", images, batch, gone))
    return found


def _epochs(bench: Bench, data: list[str], images: str, batch: int, rounds: int, device: str) -> Comparison:
    folder = str(material.folders(data))
    peer: dict[str, Any] = {"folder": folder, "network": "minivgg", "size": 48, "grey": True, "batch": batch}
    keras: dict[str, Any] = {"classes": 7, **peer}
    rows: list[Row] = []
    accuracies: dict[str, list[float]] = {}
    for seed in range(bench.seeds):  # the first for speed and accuracy, the others for accuracy alone
        train = run(
            *data, *recipe("minivgg", batch, device), f"trainer.max_epochs={rounds + 1}", f"seed={seed}"
        )
        candidates = [
            bench.task(OURS, "ours:epochs", overrides=train),
            bench.task(PLAIN, "plain:epochs", workers=2, seed=seed, device=device, **peer),
        ]
        if device == "cpu":
            candidates.append(bench.task(KERAS, "keras_peer:epochs", how="dataset", seed=seed, **keras))
        if device == "cpu" and seed == 0:
            fp32 = [*train, "trainer.precision=fp32"]
            candidates += [
                bench.task(OURS_FP32, "ours:epochs", overrides=fp32),
                bench.task(KERAS_GENERATOR, "keras_peer:epochs", how="generator", seed=seed, **keras),
            ]
        for row in bench.measure(candidates, rounds, 0):
            if row.rounds:
                accuracies.setdefault(row.name, []).append(100 * row.rounds[-1]["accuracy"])
            if seed == 0:
                speeds = [{k: v for k, v in measured.items() if k != "accuracy"} for measured in row.rounds]
                rows.append(replace(row, rounds=speeds))
    for row in rows:
        if seen := accuracies.get(row.name):
            told = ", ".join(f"{accuracy:.1f}" for accuracy in seen)
            if row.name in (OURS, PLAIN, KERAS) and len(seen) < bench.seeds:
                told += f" ({len(seen)} of {bench.seeds} seeds)"
            row.notes[f"validation accuracy, epoch {rounds}, %"] = told
    return _epoch_comparison(device, images, batch, rows)


def _epoch_comparison(device: str, images: str, batch: int, rows: list[Row]) -> Comparison:
    ours = tuple(row.name for row in rows if row.name in (OURS, OURS_FP32))
    goals: dict[str, tuple[float | None, ...]] = {
        row.name: (3.0, 1.6) for row in rows if row.name not in ours and device == "cpu"
    }
    # 100 epochs in under 3 minutes
    limits = {OURS: FER2013_TRAIN * 100 / 180} if device == "cuda" else {}
    return Comparison(
        f"Whole epochs, minivgg on the {'GPU' if device == 'cuda' else 'CPU'}",
        f"{images}, 48 px, grey, batches of {batch}, Adam, {AUGMENTATION}; with validation and checkpoints",
        "training images/s", "higher", rows, ours, goals, limits,
    )  # fmt: skip
