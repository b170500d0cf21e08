"""The pieces of a run from its configuration: the device, the split, the batches, the network."""

import math
from typing import Any

import numpy as np
import torch

from emotion.data import augment as augmentation
from emotion.data.datamodule import ExpressionDataModule
from emotion.data.dataset import split_store
from emotion.data.splits import Split
from emotion.data.store import Store
from emotion.errors import RunError
from emotion.models import network as door
from emotion.models.classifier import ExpressionClassifier
from emotion.models.device import DevicePreprocess
from emotion.schema import RunConfig
from emotion.schema.machine import MachineConfig
from emotion.training import environment, init_from

NAN_CHECK_STEPS_GPU = 50
RESIDENT_SHARE = 0.1  # of a job's share of a GPU's memory, for prepared images


def choose_device(devices: int | str) -> torch.device:
    """auto: a GPU where there is one.

    Raises:
        RunError: the wanted device isn't there.
    """
    if devices == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if devices == "cpu":
        return torch.device("cpu")
    if devices == "mps" and torch.backends.mps.is_available():
        return torch.device("mps")
    number = 0 if devices == "cuda" else devices
    if not isinstance(number, int) or number >= torch.cuda.device_count():
        raise RunError(
            f"machine.devices={devices}: expected one of the {torch.cuda.device_count()} GPUs that torch sees, "
            "auto or cpu."
        )
    return torch.device("cuda", number)


def make_data(
    config: RunConfig, store: Store, device: torch.device, backend: augmentation.Backend | None = None
) -> ExpressionDataModule:
    """The split that the configuration asks for, and its batches.

    Args:
        backend: where an earlier session of the run augmented; None: as `augment.backend` comes to on the device.

    Raises:
        ConfigError: the policy can't change the store's images.
        DataError: the data can't be split so.
    """
    split = split_store(config, store)
    environment.give_back()  # of the images' ids and groups as text, which training doesn't need
    return ExpressionDataModule(
        store,
        split,
        batch_size=config.data.batch_size,
        sampling=config.sampling,
        augment=config.augment,
        seed=config.seed,
        workers=environment.resolve_workers(config.machine.workers, device.type),
        eval_batch_size=config.evaluation.batch_size,
        backend=backend or augmentation.resolve_backend(config.augment, device.type),
        resident=_resident(config.machine, store, device),
        pinned=device.type == "cuda",
    )


def _resident(machine: MachineConfig, store: Store, device: torch.device) -> bool:
    """Whether the store's images lie on the device in training."""
    if machine.images == "auto" and device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / machine.jobs
        return math.prod(store.images.shape) <= RESIDENT_SHARE * memory
    return machine.images == "device"


def make_classifier(
    config: RunConfig, data: ExpressionDataModule, device: torch.device, load_weights: bool
) -> ExpressionClassifier:
    """The network behind its device preprocessing, with its first weights.

    Args:
        load_weights: False leaves out all first weights, for a run that goes on from a checkpoint.

    Raises:
        ConfigError: the network can't be built as configured.
        RunError: its weights can't be had, don't fit, or were trained on images that would judge them.
    """
    torch.manual_seed(config.seed)  # the first weights are a function of the seed alone
    store = data.store
    size_px = door.input_size(config.model, store.size_px)
    network = door.build(config.model, config.head, len(store.classes), size_px, load_weights)
    channels = door.input_channels(config.model)
    reused = ""
    other = init_from.source(config.model.init_from) if config.model.init_from else None
    if other is not None and load_weights:
        assert config.model.init_from is not None
        init_from.refuse_seen_images(config.model.init_from, data.split, store)
        reused = init_from.start_from(network, store.classes, other)
    mean, std = _statistics(config, data, channels, other)
    classifier = ExpressionClassifier(
        config,
        network,
        DevicePreprocess(channels, size_px, mean, std),
        torch.as_tensor(data.class_counts("train")),
        check_every=1 if device.type == "cpu" else NAN_CHECK_STEPS_GPU,
    )
    classifier.reused = reused
    return classifier.to(device, memory_format=torch.channels_last)


def probe_batch(data: ExpressionDataModule, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch of training images, for measuring: (N, H, W, C) uint8 and (N,) int64."""
    rows = data.split.train[: data.batch_size]
    images, labels = data.store.images[rows], data.store.labels[rows]
    return torch.as_tensor(images).to(device), torch.as_tensor(labels).to(device)


def _statistics(
    config: RunConfig, data: ExpressionDataModule, channels: int, other: dict[str, Any] | None
) -> tuple[list[float], list[float]]:
    """Mean and deviation of pixel values in [0, 1] for each channel of the network.

    Args:
        other: the checkpoint that the weights come from.
    """
    chosen = config.preprocess.statistics
    if chosen == "auto" and other is not None:
        return other["device"]["mean"], other["device"]["std"]
    if chosen == "auto":
        chosen = "pretrained" if config.model.pretrained or config.model.weights else "training"
    if chosen == "unit":
        return [0.0] * channels, [1.0] * channels
    if chosen == "raw":
        low, high = data.store.preparation.value_range
        return [(0 - low) / (high - low)] * channels, [1 / (high - low)] * channels
    if chosen in ("pretrained", "unshifted"):
        published = door.published(config.model.name)
        mean, std = list(published.get("mean", (0.5,))), list(published.get("std", (0.5,)))
        if chosen == "unshifted":
            mean = [0.0] * len(std)
    else:
        mean, std = data.store.statistics(data.split.train)
    if len(mean) != channels:
        mean, std = [float(np.mean(mean))] * channels, [float(np.mean(std))] * channels
    return mean, [max(deviation, 1e-3) for deviation in std]


def network_line(config: RunConfig, classifier: ExpressionClassifier) -> str:
    """The first line of a run: the network, where its weights come from, what it sees."""
    model = config.model
    if model.pretrained:
        weights = "timm's published weights"
    elif model.weights:
        weights = f"weights from {model.weights}"
    elif model.init_from:
        weights = f"the best weights of {model.init_from}"
        weights += f" ({classifier.reused})" if classifier.reused else ""
    else:
        weights = "random weights (model.pretrained=false)"
    count = sum(p.numel() for p in classifier.network.parameters())
    still = sum(p.numel() for p in classifier.network.frozen)
    until = "" if model.freeze_epochs is None else f" until epoch {model.freeze_epochs + 1}"
    frozen = f" ({still:,} of them frozen{until})" if still else ""
    edge = classifier.device_module.size_px
    size = f"{classifier.device_module.channels}×{edge}×{edge}"
    return f"{model.name} with {weights}: {count:,} parameters{frozen}, input {size}"


def data_line(store: Store, split: Split) -> str:
    said = {"val": "validation", "official_test": "official test"}
    parts = ", ".join(f"{said.get(name, name)} {len(split.part(name)):,}" for name in split.names)
    return f"{store.frame.height:,} images of {len(store.classes)} classes: {parts} ({split.manifest['strategy']})"
