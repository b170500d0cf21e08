"""Learning-rate schedules: a factor of each group's lr, and for all but plateau a function of the step alone."""

import math
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from emotion.registry import Named
from emotion.schema.learning import (
    ConstantSchedule,
    CosineSchedule,
    CyclicCosineSchedule,
    InverseTimeSchedule,
    OneCycleSchedule,
    PlateauSchedule,
)

Mode = Literal["min", "max"]


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def constant(config: ConstantSchedule, optimizer: Optimizer, steps: int, epochs: int, mode: Mode) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: 1.0)


def cosine(config: CosineSchedule, optimizer: Optimizer, steps: int, epochs: int, mode: Mode) -> LambdaLR:
    """Linear warm-up from 1 % of lr, then half a cosine to `final` (Loshchilov & Hutter 2017, eq. 5)."""
    warmup = min(config.warmup_epochs / epochs, 1.0) * steps

    def factor(step: int) -> float:
        if step < warmup:
            return 0.01 + 0.99 * step / warmup
        return _cosine(1.0, config.final, (step - warmup) / max(steps - warmup, 1))

    return LambdaLR(optimizer, factor)


def cyclic_cosine(
    config: CyclicCosineSchedule, optimizer: Optimizer, steps: int, epochs: int, mode: Mode
) -> LambdaLR:
    """`cycles` times half a cosine from lr to `final` (Huang et al. 2017, Snapshot ensembles, eq. 2)."""
    length = max(steps // config.cycles, 1)
    return LambdaLR(optimizer, lambda step: _cosine(1.0, config.final, step % length / length))


def finished_cycle(config: Named, epoch: int, epochs: int) -> int | None:
    """The number, from 1, of the cycle that ends with `epoch`, counted from 0; None where none does."""
    if not isinstance(config, CyclicCosineSchedule):
        return None
    cycle, rest = divmod(epoch + 1, epochs // config.cycles)
    return None if rest else cycle


def one_cycle(
    config: OneCycleSchedule, optimizer: Optimizer, steps: int, epochs: int, mode: Mode
) -> LambdaLR:
    """Half a cosine up, half a cosine down (Smith & Topin 2018)."""
    top = max(config.rise * steps, 1)

    def factor(step: int) -> float:
        if step < top:
            return _cosine(config.start, 1.0, step / top)
        return _cosine(1.0, config.final, (step - top) / max(steps - top, 1))

    return LambdaLR(optimizer, factor)


def plateau(
    config: PlateauSchedule, optimizer: Optimizer, steps: int, epochs: int, mode: Mode
) -> ReduceLROnPlateau:
    """lr × factor once more than `patience` epochs in a row have brought no better monitored metric.

    Better by a ten-thousandth of it, torch's default; `mode` is "max" or "min".
    """
    return ReduceLROnPlateau(optimizer, mode=mode, factor=config.factor, patience=config.patience)


def inverse_time(
    config: InverseTimeSchedule, optimizer: Optimizer, steps: int, epochs: int, mode: Mode
) -> LambdaLR:
    """lr / (1 + decay · step), Keras' `InverseTimeDecay`, as in study B."""
    return LambdaLR(optimizer, lambda step: 1 / (1 + config.decay * step))
