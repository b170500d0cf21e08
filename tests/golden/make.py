"""Makes the golden run of the current format: python tests/golden/make.py tests/golden/format-1

A run of each released format stays here for ever, and tests open it. Make a new one when a format changes; never
change an old one.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import emotion
from emotion.data.drawn import DrawnFaces

KEPT = (
    *("config.yaml", "environment.json", "splits.json", "status.json", "metrics.csv", "metrics.json"),
    *(
        "checkpoints/best.ckpt",
        "predictions/val.parquet",
        "predictions/test.parquet",
        "predictions/val_last.parquet",
    ),
)

OVERRIDES = (
    *("data.count=210", "data.imbalance=0", "data.batch_size=16", "augment=basic", "evaluation.tta=flip"),
    *("model.args={blocks:[[8],[12],[16]],hidden:[24]}", "optimizer.lr=0.003", "fold=0", "folds=3"),
    *("trainer.max_epochs=12", "trainer.precision=fp32", "machine.devices=cpu", "machine.threads=1"),
)


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run = emotion.train([*OVERRIDES, f"machine.runs_dir={scratch}", f"machine.cache_dir={scratch}/cache"])
        for name in KEPT:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(run.file(name), target / name)
        for name in ("environment.json", "config.yaml"):  # this machine's folders are nobody's business
            text = (target / name).read_text().replace(scratch, "/scratch")
            (target / name).write_text(text)
        faces = DrawnFaces(count=210, imbalance=0)
        images = np.stack([faces.read(index) for index in range(8)])
        np.savez_compressed(
            target / "expected.npz",
            images=images,
            probabilities=emotion.load_run(target).probabilities(list(images)),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
