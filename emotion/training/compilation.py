"""Whether `trainer.compile=auto` compiles."""

import copy
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Literal, TypedDict

import torch
from torch import Tensor

from emotion.models.classifier import ExpressionClassifier
from emotion.training.measured import Measured, key_of

QUICK_S = 600.0  # of a training that takes less, finding out takes too much
STEPS = 10


class Costs(TypedDict):
    """Seconds of a step compiled, and of compiling all that a run needs."""

    step_s: float
    compile_s: float


def resolve(
    asked: Literal["auto"] | bool,
    classifier: ExpressionClassifier,
    image: Tensor,
    label: Tensor,
    precision: str,
    steps: int,
    measured: Measured,
    log: Callable[[str], None],
) -> bool:
    """`asked` itself, or what auto comes to: on a CUDA GPU, whether compiling saves more of the run than it takes.

    Args:
        image: (N, H, W, C) uint8, a training batch, on the device that trains.
        label: (N,) int64.
        precision: fp32, bf16 or fp16.
        steps: of the whole training.
        measured: earlier measurements.
    """
    if asked != "auto":
        return asked
    device = image.device
    if device.type != "cuda":
        return False
    key = key_of(precision, classifier, image, device)
    plain_s = measured.get(f"step {key}", lambda: _plain(classifier, image, label, precision))
    if plain_s is None or plain_s * steps < QUICK_S:
        return False
    costs = measured.get(f"compiled {key}", lambda: _compiled(classifier, image, label, precision, log))
    return costs is not None and steps * (plain_s - costs["step_s"]) > costs["compile_s"]


def _plain(classifier: ExpressionClassifier, image: Tensor, label: Tensor, precision: str) -> float | None:
    """Seconds of a training step of a copy; None where the device's memory doesn't hold it beside the network."""
    try:
        return _step_s(copy.deepcopy(classifier).to(image.device), image, label, precision)
    except torch.OutOfMemoryError:
        return None


def _compiled(
    classifier: ExpressionClassifier, image: Tensor, label: Tensor, precision: str, log: Callable[[str], None]
) -> Costs | None:
    """The same of a compiled copy, after all shapes that a run has: a whole batch, an epoch's last one, evaluation.

    None where it fails, for whatever reason, which may be gone the next time.
    """
    log("trainer.compile=auto: measuring whether compiling the network makes this run faster; minutes, once.")
    torch.compiler.reset()  # what earlier runs of this process compiled counts against torch's limit
    probe = copy.deepcopy(classifier).to(image.device)
    probe.network.compile()
    part = math.ceil(len(image) / 2) + 1
    started = time.perf_counter()
    try:
        for count in (len(image), part):
            _train(probe, image[:count], label[:count], precision)
        with torch.inference_mode():
            probe.eval()(image)
        _finish(image.device)
        compile_s = time.perf_counter() - started
        return {"step_s": _step_s(probe, image, label, precision), "compile_s": compile_s}
    # torch.compile fails in as many ways as there are compilers, drivers and networks
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        log(f"trainer.compile=auto: not compiled, as torch can't compile this network here: {why}")
        return None


def _step_s(probe: ExpressionClassifier, image: Tensor, label: Tensor, precision: str) -> float:
    seconds = []
    for _ in range(STEPS + 3):
        started = time.perf_counter()
        _train(probe, image, label, precision)
        _finish(image.device)
        seconds.append(time.perf_counter() - started)
    return median(seconds[3:])


def _train(probe: ExpressionClassifier, image: Tensor, label: Tensor, precision: str) -> None:
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(image.device.type, dtype, enabled=precision != "fp32"):
        loss = probe.train().loss(probe(image), label)
    loss.backward()
    probe.zero_grad()


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
