"""Whole epochs, from the first image to the checkpoint, and what is learnt in them."""

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
from .side_by_side import Comparison, Row, Spread, Unmeasured

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
    merged: dict[str, Row] = {}
    accuracies: dict[str, list[float]] = {}
    for seed in range(bench.seeds):
        train = run(
            *data, *recipe("minivgg", batch, device), f"trainer.max_epochs={rounds + 1}", f"seed={seed}"
        )
        candidates = [
            bench.task(OURS, "ours:epochs", overrides=train),
            bench.task(PLAIN, "plain:epochs", workers=2, seed=seed, device=device, **peer),
        ]
        if device == "cpu":
            fp32 = [*train, "trainer.precision=fp32"]
            candidates.append(bench.task(OURS_FP32, "ours:epochs", overrides=fp32))
            candidates += [
                bench.task(name, "keras_peer:epochs", classes=7, how=how, seed=seed, **peer)
                for name, how in ((KERAS, "dataset"), (KERAS_GENERATOR, "generator"))
            ]
        for row in bench.measure(candidates, rounds, 0):
            into = merged.setdefault(row.name, Row(row.name))
            into.missing = into.missing or row.missing
            if row.rounds:
                accuracies.setdefault(row.name, []).append(row.rounds[-1]["accuracy"])
            for measured in row.rounds:
                into.rounds.append({k: v for k, v in measured.items() if k != "accuracy"})
    for name, seen in accuracies.items():
        spread = Spread.of([100 * accuracy for accuracy in seen])
        told = f"{spread.median:.1f} %" + (f" ({spread.low:.1f}–{spread.high:.1f})" if len(seen) > 1 else "")
        merged[name].notes[f"validation accuracy, epoch {rounds}"] = told
    return _epoch_comparison(device, images, batch, list(merged.values()))


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
