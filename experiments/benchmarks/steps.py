"""Training steps, batch after batch from the loader, beside what the machine's matrix products reach."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from emotion.training.precision import cpu_has_bf16

from . import material
from .bench import (
    AUGMENTATION,
    BARE,
    KERAS,
    KERAS_GENERATOR,
    NO_GPU,
    OURS,
    OURS_FP32,
    OURS_HOST,
    PLAIN,
    PLAIN_ALONE,
    RESIDENT,
    TRAIN_SHARE,
    Bench,
    drawn,
    goals,
    has_gpu,
    recipe,
    run,
)
from .side_by_side import Candidate, Comparison, Row, Unmeasured


@dataclass(frozen=True)
class Net:
    """A network and how its steps are measured; its goals as `bench.goals` takes them."""

    name: str
    size: int
    batch: int
    skip: int
    steps: int
    goals: tuple[float, float | None] = (1.0, None)

    @property
    def grey(self) -> bool:
        return self.name == "minivgg"


NETS = (
    Net("minivgg", 48, 128, 4, 16, (3.0, 1.6)),
    Net("vgg16", 48, 64, 1, 4, (3.0, None)),
    Net("mobilenetv2_100", 96, 64, 2, 8, (1.9, 1.9)),
    Net("efficientnet_b0", 96, 64, 2, 8, (1.9, 1.9)),
)
GPU_NETS = (
    Net("minivgg", 48, 128, 20, 100),
    Net("efficientnet_b0", 224, 64, 10, 30),
)


_CANNOT = {
    "minivgg": "; ImageDataGenerator changes no contrast",
    "efficientnet_b0": "; Keras' network drops connections and features (20 % each), which its arguments can't change",
}


def measure(bench: Bench) -> list[Comparison]:
    """Training steps, batch after batch from the loader, beside what the machine's matrix products reach."""
    nets, gpu_nets = (_small(NETS), _small(GPU_NETS)) if bench.quick else (NETS, GPU_NETS)
    rate = _matmul(bench, "cpu")
    found = [rate, *(_steps(bench, net, "cpu", rate) for net in nets)]
    if not has_gpu():
        gone = [Unmeasured(name, NO_GPU) for name in (OURS, BARE, PLAIN, PLAIN_ALONE, OURS_HOST, RESIDENT)]
        return [*found, *(_step_comparison(net, "cuda", bench.measure(gone)) for net in GPU_NETS)]
    rate = _matmul(bench, "cuda")
    return [*found, rate, *(_steps(bench, net, "cuda", rate) for net in gpu_nets)]


def _small(nets: Sequence[Net]) -> list[Net]:
    """The first one, with next to nothing to do."""
    return [replace(nets[0], batch=8, skip=1, steps=2)]


def _matmul(bench: Bench, device: str) -> Comparison:
    sizes = [256] if bench.quick else [2048, 4096, 8192] if device == "cuda" else [512, 1024, 1536, 2048]
    seconds = 0.1 if bench.quick else 0.5
    work: dict[str, Any] = {"sizes": sizes, "seconds": seconds, "device": device}
    rows = bench.measure(
        [bench.task(name, "plain:matmul", precision=name, **work) for name in ("fp32", "bf16")]
    )
    where = "GPU" if device == "cuda" else "CPU"
    return Comparison(
        f"Matrix products on the {where}",
        f"square, edges of {', '.join(map(str, sizes))}, torch's defaults; the fastest",
        "GFLOP/s",
        "higher",
        rows,
    )


def _steps(bench: Bench, net: Net, device: str, rate: Comparison) -> Comparison:
    turns = bench.rounds + 2
    count = math.ceil(turns * (net.skip + net.steps) * net.batch / TRAIN_SHARE) + 400
    data = drawn(count, net.size)
    folder = str(material.folders(data))
    overrides = [*data, *recipe(net.name, net.batch, device), f"model.input_size={net.size}"]
    ours: dict[str, Any] = {"batch": net.batch, "skip": net.skip, "steps": net.steps}
    peer = {"folder": folder, "network": net.name, "size": net.size, "grey": net.grey, **ours}
    train = run(*overrides, "trainer.max_epochs=100000")
    candidates: list[Candidate] = [
        bench.task(OURS, "ours:steps", overrides=train, **ours),
        bench.task(BARE, "ours:bare", overrides=overrides, **ours),
        bench.task(PLAIN, "plain:steps", workers=2, device=device, **peer),
        bench.task(PLAIN_ALONE, "plain:steps", workers=0, device=device, **peer),
    ]
    if device == "cuda":
        host = [*train, "machine.images=host"]
        candidates.append(bench.task(OURS_HOST, "ours:steps", overrides=host, **ours))
        candidates.append(bench.task(RESIDENT, "ours:bare", overrides=overrides, resident=True, **ours))
    else:
        candidates.append(
            bench.task(OURS_FP32, "ours:steps", overrides=[*train, "trainer.precision=fp32"], **ours)
        )
        candidates += [
            bench.task(name, "keras_peer:steps", classes=7, how=how, **peer)
            for name, how in ((KERAS, "dataset"), (KERAS_GENERATOR, "generator"))
            if name == KERAS or net.name == "minivgg"
        ]
    rows = bench.measure(candidates)
    (work,) = bench.measure([bench.task("work", "plain:flops", network=net.name, size=net.size)], 1, 0)
    for row in rows:
        for measured in row.rounds:
            reached = rate.row(measured["precision"]).spread
            if reached and work.rounds:
                flops = measured["value"] * work.values[0] / 1e9
                measured["% of the matmul rate"] = 100 * flops / reached.median
    return _step_comparison(net, device, rows)


def _step_comparison(net: Net, device: str, rows: list[Row]) -> Comparison:
    """Ours may cost 3 % over the bare loop, and 5 % over a batch that is already on the GPU."""
    ours = tuple(row.name for row in rows if row.name in (OURS, OURS_FP32, OURS_HOST))
    wanted: dict[str, tuple[float | None, ...]] = {BARE: (1 / 1.03, None), RESIDENT: (0.95, 0.95)}
    if device == "cpu":
        times = goals(cpu_has_bf16(), *net.goals)
        wanted |= {PLAIN: times, PLAIN_ALONE: times}
        wanted |= {name: times for name in (KERAS, KERAS_GENERATOR) if net.name == "minivgg"}
    here = {row.name for row in rows}
    return Comparison(
        f"Training steps, {net.name} at {net.size} px on the {'GPU' if device == 'cuda' else 'CPU'}",
        f"batches of {net.batch} drawn faces, Adam, cross-entropy, {AUGMENTATION}; ours from the prepared store with "
        "its own choice of workers, plain PyTorch from jpg files with 2 unless its row says otherwise. Peers in fp32 "
        f"with the defaults of their libraries{_CANNOT.get(net.name, '') if device == 'cpu' else ''}",
        "images/s",
        "higher",
        rows,
        ours,
        {name: goal for name, goal in wanted.items() if name in here},
        most={"% waiting for data": 2.0},
    )
