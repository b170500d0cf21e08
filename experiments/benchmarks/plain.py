"""Training in plain PyTorch as tutorials and course projects write it. Runs in processes of its own.

Nothing is set that such code doesn't set: threads, allocator and memory format stay at torch's defaults, the batch's
loss is read every step. The networks are built by the same functions as ours, so that the arithmetic is the same.
"""

import time
from functools import partial
from typing import Any

from .worker import StepClock, Turns


def transforms(size: int, grey: bool, train: bool) -> Any:
    """torchvision v2 on PIL images, with the kinds and strengths of our policy `basic`.

    On PIL images, where these three take less processor time than on tensors (one thread, 48 and 224 px).
    """
    import torch
    from torchvision.transforms import InterpolationMode, v2

    augment = [
        v2.RandomAffine(
            degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=(-5, 5, -5, 5),
            interpolation=InterpolationMode.BILINEAR,
        ),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(brightness=0.2, contrast=0.2),
    ]  # fmt: skip
    channels = 1 if grey else 3
    return v2.Compose(
        [
            *([v2.Grayscale()] if grey else []),
            v2.Resize((size, size)),
            *(augment if train else []),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * channels, [0.25] * channels),
        ]
    )


def _loader(folder: str, part: str, size: int, grey: bool, batch: int, workers: int) -> Any:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    train = part == "train"
    images = ImageFolder(f"{folder}/{part}", transforms(size, grey, train))
    return DataLoader(
        images, batch_size=batch, shuffle=train, num_workers=workers, persistent_workers=workers > 0
    )


def _network(name: str, classes: int) -> Any:
    import timm

    from emotion.models import networks  # noqa: F401  registers minivgg with timm

    return timm.create_model(name, num_classes=classes)


def steps(
    turns: Turns, folder: str, network: str, size: int, grey: bool, batch: int, workers: int, skip: int, steps: int,
    device: str = "cpu",
) -> None:  # fmt: skip
    """Turns of training steps."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    loader = _loader(folder, "train", size, grey, batch, workers)
    model = _network(network, len(loader.dataset.classes)).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    clock = StepClock(turns, batch, skip, steps, synchronise, precision="fp32")
    model.train()
    running_loss = 0.0
    clock.begin()
    while True:
        for images, labels in loader:
            if len(images) < batch:
                break
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            clock.step_done()


def epochs(
    turns: Turns, folder: str, network: str, size: int, grey: bool, batch: int, workers: int, seed: int,
    device: str = "cpu",
) -> None:  # fmt: skip
    """Turns of whole epochs, each with its validation and a checkpoint."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    loader = _loader(folder, "train", size, grey, batch, workers)
    validation = _loader(folder, "val", size, grey, batch, workers)
    model = _network(network, len(loader.dataset.classes)).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    best = -1.0
    while True:
        turns.wait()
        started, seen, running_loss = time.perf_counter(), 0, 0.0
        model.train()
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            seen += len(images)
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in validation:
                images, labels = images.to(device), labels.to(device)
                correct += (model(images).argmax(1) == labels).sum().item()
        accuracy = correct / len(validation.dataset)
        if accuracy > best:
            best = accuracy
            torch.save(model.state_dict(), "plain.pt")
        seconds = time.perf_counter() - started
        turns.report(seen / seconds, images=seen, seconds=seconds, precision="fp32", accuracy=accuracy)


def torchvision_loader(turns: Turns, folder: str, size: int, batch: int, workers: int) -> None:
    """Turns of whole passes over ImageFolder with v2 transforms."""
    _passes(turns, _loader(folder, "train", size, False, batch, workers))


def timm_loader(turns: Turns, folder: str, size: int, batch: int, workers: int) -> None:
    """Turns of whole passes over timm's loader.

    It has no rotation, shift and shear beside its random policies: a crop of 81 to 100 % of the area stands for them.
    """
    import torch
    from timm.data import create_dataset, create_loader

    images = create_dataset("", f"{folder}/train")
    device = torch.device("cpu")
    options: dict[str, Any] = {"scale": (0.81, 1.0), "ratio": (1.0, 1.0), "hflip": 0.5}
    options["color_jitter"] = (0.2, 0.2, 0.0)  # a number would change saturation, too
    _passes(
        turns,
        create_loader(
            images, (3, size, size), batch, is_training=True, num_workers=workers, device=device,
            persistent_workers=workers > 0, **options,
        ),
    )  # fmt: skip


def _passes(turns: Turns, batches: Any) -> None:
    while True:
        turns.wait()
        started, seen = time.perf_counter(), 0
        for images, _ in batches:
            seen += len(images)
        turns.report(seen / (time.perf_counter() - started), images=seen)


def matmul(turns: Turns, sizes: list[int], seconds: float, precision: str, device: str) -> None:
    """Turns of square matrix products: the machine's rate in GFLOP/s, 2·size³ operations each, of the fastest way.

    Args:
        sizes: edges, each multiplied for so many seconds by torch.mm and, as networks do it, by a 1×1 convolution.
    """
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None

    def rate(work: Any, operations: float) -> float:
        work()
        synchronise()
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            for _ in range(10):
                work()
            synchronise()
            done += 10
        return done * operations / (time.perf_counter() - started) / 1e9

    while True:
        turns.wait()
        found = {}
        for size in sizes:
            left, right = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
            out = torch.empty_like(left)
            maps = left.view(1, size, 1, size).permute(0, 3, 1, 2)  # channels_last: a row of `left` a pixel
            kernel = right.view(size, size, 1, 1)
            ways = {
                "torch.mm": partial(torch.mm, left, right, out=out),
                "convolution": partial(torch.conv2d, maps, kernel),
            }
            for name, way in ways.items():
                found[f"{name}, {size}"] = rate(way, 2 * size**3)
        fastest = max(found, key=lambda way: found[way])
        turns.report(found[fastest], fastest=fastest)


def flops(turns: Turns, network: str, size: int) -> None:
    """One turn: the floating-point operations of an image's training step, three times those of its forward pass.

    The backward pass has two products for each of the forward one, for the gradients of input and weights. It isn't
    counted itself, because the counter takes the weight gradient of a depthwise convolution for a dense one's.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    turns.wait()
    model = _network(network, 7).train()
    channels = model.default_cfg["input_size"][0] if hasattr(model, "default_cfg") else 3
    images = torch.zeros(2, channels, size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    turns.report(3 * counter.get_total_flops() / len(images))
