"""Which precision `trainer.precision=auto` comes to."""

import copy
import time
from typing import Literal

import torch
from torch import Tensor

from emotion.errors import ConfigError
from emotion.models.classifier import ExpressionClassifier
from emotion.training.measured import Measured, key_of

WORTH = 1.15  # bf16 must be so much faster: below, noise would choose and nothing would be won
LightningName = Literal["32-true", "bf16-mixed", "16-mixed"]
_LIGHTNING: dict[str, LightningName] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def lightning_name(precision: str) -> LightningName:
    return _LIGHTNING[precision]


def possible(precision: str, device: torch.device) -> str:
    """`precision`, if the device can train in it.

    Raises:
        ConfigError: fp16 on a CPU, which Lightning would silently replace by bf16.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            "trainer.precision: expected auto, bf16 or fp32 on a CPU, found fp16, which needs a GPU. A run that was "
            "begun on a GPU is continued on one."
        )
    return precision


def resolve(
    precision: str,
    classifier: ExpressionClassifier,
    image: Tensor,
    label: Tensor,
    device: torch.device,
    measured: Measured,
) -> str:
    """`precision` itself, or what auto comes to.

    On a CPU with bf16 instructions the faster one of fp32 and bf16, by a few timed training steps on a copy; on an
    NVIDIA GPU bf16 where it has it; else fp32.

    Args:
        image: (N, H, W, C) uint8, a training batch.
        label: (N,) int64.
        measured: earlier measurements.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    if precision != "auto":
        return possible(precision, device)
    if device.type == "cuda":
        with torch.cuda.device(device):  # torch asks the current one
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu" or not cpu_has_bf16():
        return "fp32"
    key = key_of("precision", classifier, image, device)
    return measured.get(key, lambda: _measure(classifier, image, label))


def _measure(classifier: ExpressionClassifier, image: Tensor, label: Tensor) -> str:
    probe = copy.deepcopy(classifier).train()
    seconds = {"fp32": float("inf"), "bf16": float("inf")}
    # interleaved, the best of each: a busy neighbour slows single steps, never speeds one up
    for _ in range(3):
        for name in seconds:
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
                loss = probe.loss(probe(image), label)
            loss.backward()
            probe.zero_grad()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return "bf16" if seconds["fp32"] / seconds["bf16"] >= WORTH else "fp32"


def cpu_has_bf16() -> bool:
    """Whether the processor has instructions for bf16."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
