"""Input pipelines: from disk to the normalised tensors that a network gets."""

from typing import Any

from . import material
from .bench import AUGMENTATION, OURS, Bench, drawn, recipe
from .side_by_side import Comparison

TORCHVISION, TIMM = "torchvision ImageFolder, v2", "timm loader"


def measure(bench: Bench) -> list[Comparison]:
    """Images from disk to the normalised tensors that a network gets."""
    found = []
    batch = 8 if bench.quick else 128
    for size, count in ((48, 400),) if bench.quick else ((48, 16_000), (112, 8_000), (224, 4_000)):
        data = drawn(count, size)
        folder = str(material.folders(data))
        for workers in (0,) if bench.quick else (0, 1, 2):
            overrides = [*data, *recipe("test_resnet", batch), f"machine.workers={workers}"]
            peer: dict[str, Any] = {"folder": folder, "size": size, "batch": batch, "workers": workers}
            rows = bench.measure(
                [
                    bench.task(OURS, "ours:loader", overrides=overrides),
                    bench.task(TORCHVISION, "plain:torchvision_loader", **peer),
                    bench.task(TIMM, "plain:timm_loader", **peer),
                ]
            )
            goal = {48: 8.0, 224: 4.0}.get(size) if workers == 0 else None
            found.append(
                Comparison(
                    f"Input pipeline, {size} px, {workers} workers",
                    f"whole passes over {count:,} drawn faces (80 % of them train), colour, {size} px, batches of "
                    f"{batch}: {AUGMENTATION}; normalised fp32 tensors. Ours from the prepared store, the peers from "
                    "jpg files of the same size. timm's loader has a random crop instead of rotation, shift and shear.",
                    "images/s",
                    "higher",
                    rows,
                    (OURS,),
                    {TORCHVISION: (goal,)} if goal else {},
                )
            )
    return found
