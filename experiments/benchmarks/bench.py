"""What all families share: the settings of a measurement, the candidates' names and the recipe that all follow."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .processes import Task
from .side_by_side import Candidate, Row, side_by_side

OURS, OURS_FP32 = "emotion", "emotion, fp32"
BARE, RESIDENT = "our tricks in a bare loop", "the same, batch on the device"
OURS_HOST = "emotion, images on the host"
PLAIN, PLAIN_ALONE = "plain PyTorch", "plain PyTorch, 0 workers"
KERAS, KERAS_GENERATOR = "Keras, tf.data", "Keras, ImageDataGenerator"
NO_GPU = "not measured: no GPU here"
AUGMENTATION = "rotation ±10°, shift 10 %, shear ±5°, zoom ±10 %, flip, brightness and contrast ±20 %"
TRAIN_SHARE = 0.78  # of drawn faces, at least, with the fractions of `drawn` and whole persons


@dataclass(frozen=True)
class Bench:
    """What the families are measured with.

    Args:
        work: a folder for logs and runs, removed afterwards.
        rounds: of each comparison.
        quick: the smallest work that still goes through everything; its numbers mean nothing.
        epochs: of the family accuracy.
        seeds: of the family accuracy.
        known: earlier results, each family by its name.
        data: the folder of real data sets, with fer2013/ in it.
        keras: the Python that has TensorFlow.
        say: called with a line at a time.
    """

    work: Path
    rounds: int = 5
    quick: bool = False
    epochs: int = 5
    seeds: int = 3
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Path | None = None
    keras: str = sys.executable
    say: Callable[[str], None] = print
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def task(self, name: str, function: str, **arguments: Any) -> Task:
        """A candidate in a process of its own and a folder of its own.

        Args:
            function: "module:function" of this package.
        """
        keras = function.startswith("keras")
        log = self.work / f"{next(self._numbers):03d}" / "log.txt"
        return Task(
            name,
            f"{__package__}.{function}",
            arguments,
            log,
            self.keras if keras else sys.executable,
            variables={"CUDA_VISIBLE_DEVICES": "-1"} if keras else {},  # its rows are all of the CPU
        )

    def measure(
        self, candidates: Sequence[Candidate], rounds: int | None = None, warmups: int | None = None
    ) -> list[Row]:
        """The candidates side by side, with one round of warming up unless told otherwise."""
        rounds = self.rounds if rounds is None else rounds
        warmups = warmups if warmups is not None else 0 if self.quick else 1
        return side_by_side(candidates, rounds, warmups, lambda line: self.say(f"  {line}"))


def drawn(count: int, size: int) -> list[str]:
    """Overrides: so many drawn faces, with 10 % of them to validate and 10 % to test."""
    return [
        "data=drawn",
        f"data.count={count}",
        f"data.size_px={size}",
        "val_fraction=0.1",
        "test_fraction=0.1",
    ]


def recipe(network: str, batch: int, device: str = "cpu") -> list[str]:
    """Overrides: Adam at a constant rate with the policy `basic`, as the peers train."""
    return [
        f"model={network}",
        f"data.batch_size={batch}",
        "augment=basic",
        "optimizer=adam",
        "optimizer.lr=0.001",
        "schedule=constant",
        f"machine.devices={device}",
    ]


def run(*overrides: str) -> list[str]:
    """Overrides of a run that leaves nothing where the user works: the folder is the process's own."""
    return [*overrides, "machine.runs_dir=runs", "force=true"]


def goals(has_bf16: bool, best: float, fp32: float | None) -> tuple[float, ...]:
    """How many times a peer's speed ours should have: with precision=auto, and in fp32 where that has a goal.

    Args:
        has_bf16: whether the processor has the instructions; what auto came to doesn't lower its own goal.
        best: the goal of auto where it has them.
        fp32: the goal of fp32, and of auto where it hasn't; None: fp32 has none, and auto the same everywhere.
    """
    return (best,) if fp32 is None else (best if has_bf16 else fp32, fp32)


@cache
def gpu_name() -> str | None:
    """The first GPU that torch can use. Asked in another process, which leaves the GPU to the candidates."""
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return said.stdout.strip() or None


def has_gpu() -> bool:
    return gpu_name() is not None
