"""Run folders that no training made: everything a report reads, with confusions like those of real networks."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from emotion.evaluation import predictions
from emotion.runs import RunFolder

FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
SHARES = {
    "anger": 491,
    "disgust": 55,
    "fear": 528,
    "happiness": 879,
    "sadness": 594,
    "surprise": 416,
    "neutral": 626,
}
LIKE = {
    "anger": {"sadness": 1.0, "neutral": 0.9, "fear": 0.6, "disgust": 0.5},
    "disgust": {"anger": 1.8, "sadness": 0.6},
    "fear": {"sadness": 1.2, "surprise": 1.1, "anger": 0.5, "neutral": 0.4},
    "happiness": {"neutral": 0.2, "surprise": 0.1},
    "sadness": {"neutral": 1.2, "fear": 0.8, "anger": 0.6},
    "surprise": {"fear": 0.7, "happiness": 0.1},
    "neutral": {"sadness": 1.1, "anger": 0.4, "happiness": 0.2},
    "contempt": {"neutral": 1.5, "happiness": 0.6},
}
EASE = {
    "happiness": 2.4,
    "surprise": 1.6,
    "neutral": 0.7,
    "anger": 0.4,
    "sadness": 0.3,
    "fear": 0.0,
    "disgust": 0.3,
}


def labels_of(count: int, classes: Sequence[str], seed: int = 0) -> np.ndarray:
    shares = np.array([SHARES.get(name, 100) for name in classes], float)
    return np.random.default_rng(seed).choice(len(classes), size=count, p=shares / shares.sum())


def probabilities_of(
    labels: np.ndarray, classes: Sequence[str], skill: float = 1.0, seed: int = 0, sharp: float = 1.4
) -> np.ndarray:
    """(N, K) with expressions confused that people confuse too; `sharp` > 1 is overconfident.

    How hard an image is depends on its row alone, so that two runs are wrong on much the same images.
    """
    hard = np.random.default_rng(1000).normal(size=(len(labels), len(classes)))
    own = np.random.default_rng(seed).normal(size=hard.shape)
    likeness = np.array([[LIKE[a].get(b, 0.0) for b in classes] for a in classes])
    ease = np.array([EASE.get(name, 0.0) for name in classes])
    logits = 0.9 * hard + 0.6 * own + likeness[labels]
    logits[np.arange(len(labels)), labels] += 1.1 * skill + ease[labels]
    logits *= sharp
    logits -= logits.max(axis=1, keepdims=True)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def history_of(epochs: int, accuracy: float, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    at = np.arange(epochs) / max(1, epochs - 1)
    val = accuracy * (1 - 0.62 * np.exp(-5 * at)) + rng.normal(0, 0.006, epochs)
    train = (accuracy + 0.16) * (1 - 0.68 * np.exp(-3.2 * at)) + rng.normal(0, 0.003, epochs)
    return pl.DataFrame(
        {
            "epoch": np.arange(epochs),
            "step": (np.arange(epochs) + 1) * 448,
            "lr": 1e-3 * 0.5 * (1 + np.cos(np.pi * at)),
            "train/loss": 2.1 - 1.75 * train,
            "train/accuracy": train,
            "val/loss": 2.0 - 1.5 * val + 0.12 * at**2,
            "val/accuracy": val,
            "val/balanced_accuracy": val - 0.04,
            "val/f1_macro": val - 0.05,
            "seconds": 41 + rng.normal(0, 1, epochs),
            "images_per_s": 690 + rng.normal(0, 12, epochs),
        }
    )


def config_of(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "seed": 0,
        "fold": None,
        "folds": 4,
        "val_fraction": 0.1,
        "test_fraction": 0.2,
        "name": None,
        "data": {"name": "fer2013", "root": "/data/fer2013", "batch_size": 64},
        "preprocess": {"name": "default", "size_px": None, "margin": 0.0, "statistics": "auto"},
        "model": {"name": "minivgg", "pretrained": False, "weights": None},
        "head": {"name": "linear", "dropout": 0.0},
        "augment": {"name": "basic", "rotate_deg": 10.0, "flip": 0.5},
        "sampling": {"name": "natural"},
        "loss": {"name": "cross_entropy", "class_weights": "none", "label_smoothing": 0.0},
        "optimizer": {"name": "adamw", "lr": 0.001, "weight_decay": 0.01},
        "schedule": {"name": "cosine", "warmup_epochs": 1.0},
        "trainer": {"max_epochs": 30, "precision": "auto", "monitor": "accuracy"},
        "evaluation": {"tta": "none", "test": True},
        "machine": {"devices": "auto", "workers": "auto", "runs_dir": "runs"},
        "logger": {"name": "none"},
    }
    for key, value in changes.items():
        *path, last = key.split(".")
        place = config
        for step in path:
            place = place[step]
        place[last] = value
    return config


def make_run(
    runs_dir: Path,
    *,
    count: int = 600,
    classes: Sequence[str] = FER2013,
    skill: float = 1.0,
    seed: int = 0,
    fold: int | None = None,
    parts: Sequence[str] = ("val", "test"),
    tables: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    config: Mapping[str, Any] | None = None,
    hash8: str | None = None,
    epochs: int = 24,
    sharp: float = 1.4,
    leaks: int = 0,
    notes: Sequence[str] = (),
) -> RunFolder:
    """A finished run.

    Args:
        tables: part → (labels, probabilities) instead of the invented ones.
        config: dotted keys that differ from the default configuration.
        leaks: this many test images have a twin in training.
    """
    settings = config_of(**{"fold": fold, "seed": seed, **dict(config or {})})
    hash8 = hash8 or f"{zlib.crc32(repr((seed, fold, skill, config)).encode()):08x}"
    name = f"{settings['data']['name']}-{settings['model']['name']}-f{'x' if fold is None else fold}-{hash8}"
    folder = runs_dir / name
    (folder / "predictions").mkdir(parents=True)
    made: dict[str, Any] = {}
    ids: dict[str, list[str]] = {"train": [f"Training_{row}" for row in range(3 * count)]}
    for part in parts:
        shift = (fold or 0) + (10 if part == "val" else 0)
        labels = labels_of(count, classes, seed=shift)
        given = (tables or {}).get(part)
        labels, scores = given or (labels, probabilities_of(labels, classes, skill, seed + shift, sharp))
        prefix = {"val": f"PublicTest_f{fold}" if fold is not None else "PublicTest", "test": "PrivateTest"}[
            part
        ]
        ids[part] = [f"{prefix}_{row}" for row in range(len(labels))]
        meta = predictions.Meta(settings["data"]["name"], part, name, selected_on_this_part=part == "val")
        table = predictions.from_arrays(ids[part], labels, scores, classes, meta, fold=fold)
        predictions.write(folder / "predictions" / f"{part}.parquet", table)
        made[part] = {"accuracy": float((table.predicted == table.labels).mean())}
    history_of(epochs, made.get("val", {"accuracy": 0.6})["accuracy"], seed).write_csv(folder / "metrics.csv")
    counts = {
        part: dict(
            zip(
                classes,
                np.bincount(labels_of(len(ids[part]), classes, 3), minlength=len(classes)).tolist(),
                strict=True,
            )
        )
        for part in ids
    }
    _json(
        folder / "metrics.json", {"format": 1, **made, "cost": COST | {"parameters": int(4.1e6 * skill) + 1}}
    )
    _json(
        folder / "status.json",
        {
            "format": 1,
            "state": "finished",
            "identity": hash8 * 8,
            "hash8": hash8,
            "attempt": 1,
            "epoch": epochs,
            "epochs": epochs,
            "started": "2026-03-02T09:14:03+00:00",
            "finished": "2026-03-02T09:35:44+00:00",
            "version": "0.1.0",
            "best": {"epoch": epochs - 4, "metric": "val/accuracy", "value": 0.61},
            "seconds": {"train": 1242.0, "evaluate": 31.0, "total": 1301.5},
            "message": "",
        },
    )
    _json(
        folder / "environment.json",
        {
            "format": 1,
            "versions": {"python": "3.11.9", "emotion": "0.1.0", "torch": "2.6.0", "timm": "1.0.20"},
            "commit": "4f2c9d1e7a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d",
            "dirty": False,
            "hardware": {"cpu": "Test CPU", "cores": 2, "memory_gib": 16.0, "gpu": None},
            "device": "cpu",
            "threads": 2,
            "precision": "fp32",
            "command": f"train.py data=fer2013 data.root=/data/fer2013 model={settings['model']['name']} seed={seed}"
            + ("" if fold is None else f" fold={fold}"),
        },
    )
    leaked = [f"PrivateTest_{row}" for row in range(leaks)]
    twins = (
        [{"kind": "duplicate", "parts": ["train", "test"], "count": leaks, "ids": leaked}] if leaks else []
    )
    _json(
        folder / "splits.json",
        {
            "format": 1,
            "strategy": "official" if fold is None else "kfold",
            "made": [] if fold is None else ["val"],
            "fold": fold,
            "folds": None if fold is None else 4,
            "seed": 0,
            "counts": counts,
            "hash": dict.fromkeys(ids, "c0ffee" * 5),
            "leaks": twins,
            "leaked_test_ids": leaked,
            "warnings": [],
            "data": {
                "name": settings["data"]["name"],
                "classes": list(classes),
                "images": sum(len(rows) for rows in ids.values()),
                "size_px": 48,
                "channels": 1,
                "fingerprint": "0123456789abcdef" * 2,
                "groups": None,
                "notes": list(notes),
                "rejected": {"not an image": 2},
            },
        },
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))
    return RunFolder(folder)


COST = {
    "parameters": 4_123_456,
    "trainable": 4_123_456,
    "macs": 214_000_000,
    "train_s": 1242.0,
    "images_per_s": 692.0,
    "memory_mib": 1240.0,
    "file_mib": 15.8,
}


def _json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False))


def faces(run: RunFolder, ids: Sequence[str]) -> dict[str, np.ndarray]:
    """A grey image for each id, different ids different images."""
    return {
        name: np.random.default_rng(zlib.crc32(name.encode())).integers(0, 255, (48, 48), np.uint8)
        for name in ids
    }
