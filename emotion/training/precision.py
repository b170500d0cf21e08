"""Which precision `trainer.precision=auto` comes to."""

import copy
import time
from typing import Literal

import torch
from torch import Tensor

from emotion.models.classifier import ExpressionClassifier

WORTH = 1.15  # bf16 must be so much faster: below, noise would choose and nothing would be won
LightningName = Literal["32-true", "bf16-mixed", "16-mixed"]
_LIGHTNING: dict[str, LightningName] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def lightning_name(precision: str) -> LightningName:
    return _LIGHTNING[precision]


def resolve(
    precision: str, classifier: ExpressionClassifier, image: Tensor, label: Tensor, device: torch.device
) -> str:
    """`precision` itself, or for auto the faster one of fp32 and bf16 by a few timed training steps on a copy.

    Args:
        image: (N, H, W, C) uint8, a training batch.
        label: (N,) int64.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu" or not _cpu_has_bf16():
        return "fp32"
    probe = copy.deepcopy(classifier).train()
    seconds = {"fp32": float("inf"), "bf16": float("inf")}
    for _ in range(
        3
    ):  # interleaved, the best of each: a busy neighbour slows single steps, never speeds one up
        for name in seconds:
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
                loss = probe.loss(probe(image), label)
            loss.backward()
            probe.zero_grad()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return "bf16" if seconds["fp32"] / seconds["bf16"] >= WORTH else "fp32"


def _cpu_has_bf16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
