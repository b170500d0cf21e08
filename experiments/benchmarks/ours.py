"""Our side of the comparisons, by the ways in that users take. Runs in processes of its own.

Training goes through `emotion.launch.main`, what `python train.py` calls, with an observer among the Trainer's
callbacks; nothing of the run is left out or replaced.
"""

import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .worker import StepClock, Turns

_ENDLESS = 10**7  # steps: worth compiling for where a step gets faster at all


def steps(turns: Turns, overrides: list[str], batch: int, skip: int, steps: int) -> None:
    """Turns of training steps of `python train.py OVERRIDES`, and how long they waited for the loader."""

    def observer(lightning: Any) -> Any:
        class Steps(lightning.Callback):
            def on_train_start(self, trainer: Any, module: Any) -> None:
                self.clock = StepClock(
                    turns,
                    batch,
                    skip,
                    steps,
                    _synchronise(module.device),
                    precision=_precision(trainer),
                    **_waiting(),
                )
                trainer.profiler = _waits(self.clock)
                self.clock.begin()

            def on_train_batch_end(
                self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                self.clock.step_done()

        return Steps()

    _train(overrides, observer)


def epochs(turns: Turns, overrides: list[str]) -> None:
    """Turns of whole epochs, each with its validation and checkpoints."""

    def observer(lightning: Any) -> Any:
        class Epochs(lightning.Callback):
            def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
                turns.wait()
                self.started = time.perf_counter()

            def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
                from emotion.training.callbacks import EpochKeeper

                seconds = time.perf_counter() - self.started
                keeper = next(one for one in trainer.callbacks if isinstance(one, EpochKeeper))
                turns.report(
                    module.images_seen / seconds,
                    images=module.images_seen,
                    seconds=seconds,
                    precision=_precision(trainer),
                    accuracy=keeper.history[-1]["val/accuracy"],
                )

        return Epochs()

    _train(overrides, observer)


def _train(overrides: list[str], observer: Any) -> None:
    """`python train.py OVERRIDES` with one more callback."""
    # Imports no torch: as for a user, it comes after the configuration has been checked and the threads been set.
    import emotion.training.train as entry
    from emotion import launch

    train = entry.train

    def observed(config: Any, log: Any = None) -> Any:
        import pytorch_lightning as lightning

        trainer = lightning.Trainer

        def with_observer(*, callbacks: list[Any], **arguments: Any) -> Any:
            return trainer(callbacks=[*callbacks, observer(lightning)], **arguments)

        lightning.Trainer = with_observer  # type: ignore[assignment,misc]
        return train(config, log)

    entry.train = observed
    sys.argv[1:] = overrides
    launch.main()


def _waits(clock: StepClock) -> Any:
    """A profiler that adds up how long the training loop waits for its loader."""
    from pytorch_lightning.profilers import Profiler

    class Waits(Profiler):
        _began = 0.0

        def start(self, action_name: str) -> None:
            if action_name.endswith("train_dataloader_next"):
                self._began = time.perf_counter()

        def stop(self, action_name: str) -> None:
            if action_name.endswith("train_dataloader_next"):
                clock.waited_s += time.perf_counter() - max(self._began, clock.started)

    return Waits()


def bare(
    turns: Turns, overrides: list[str], batch: int, skip: int, steps: int, resident: bool = False
) -> None:
    """The same batches, network, loss, optimizer and tricks in a bare loop: what Lightning and our hooks cost.

    Args:
        resident: train on one batch that is already on the device, again and again: what fetching costs.
    """
    config, data, classifier, device = _assembled(overrides)
    import torch

    from emotion import registry
    from emotion.data.cache import default_cache_dir
    from emotion.models.optimizers import parameter_groups
    from emotion.training import compilation, precision
    from emotion.training.assemble import probe_batch
    from emotion.training.measured import Measured

    measured = Measured(config.machine.cache_dir or default_cache_dir())
    sample = probe_batch(data, device)
    resolved = precision.resolve(config.trainer.precision, classifier, *sample, device, measured)
    if compilation.resolve(config.trainer.compile, classifier, *sample, resolved, _ENDLESS, measured, print):
        classifier.network.compile()
    classifier.train()
    groups = parameter_groups(classifier.network.backbone, classifier.network.head, config.optimizer)
    optimizer = registry.builder("optimizer", config.optimizer.name)(config.optimizer, groups)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(resolved)
    batches = _endless(data, device)
    if resident:
        batches = itertools.repeat(next(batches))
    clock = StepClock(turns, batch, skip, steps, _synchronise(device), precision=resolved, **_waiting())
    clock.begin()
    for here in batches:
        with torch.autocast(device.type, half, enabled=half is not None):
            loss = classifier.loss(classifier(here["image"]), here["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clock.step_done()


def _waiting() -> dict[str, str]:
    """How this process's threads wait for each other: decided when it started, by how busy the machine was."""
    return {"threads wait": os.environ.get("OMP_WAIT_POLICY", "spinning").lower()}


def loader(turns: Turns, overrides: list[str]) -> None:
    """Turns of whole passes over the training part, to the normalised tensors that a network gets."""
    _, data, classifier, device = _assembled(overrides)
    import torch

    batches = data.train_dataloader()
    with torch.no_grad():
        while True:
            turns.wait()
            started, images = time.perf_counter(), 0
            for batch in batches:
                images += len(classifier.device_module(_on_device(data, batch, device)["image"]))
            turns.report(images / (time.perf_counter() - started), images=images)


def _assembled(overrides: list[str]) -> tuple[Any, Any, Any, Any]:
    """Configuration, data module, classifier and device, set up as a run sets them up."""
    from emotion.launch import compose
    from emotion.training import environment, threads

    os.environ.update(threads.waiting())  # as emotion.training.train, before torch is imported

    config = compose(overrides)
    environment.keep_memory()
    import torch

    from emotion.data.dataset import open_store
    from emotion.training.assemble import choose_device, make_classifier, make_data

    torch.set_num_threads(environment.resolve_threads(config.machine.threads))
    device = choose_device(config.machine.devices)
    store = open_store(config.data, config.preprocess, config.machine.cache_dir)
    data = make_data(config, store, device)
    return config, data, make_classifier(config, data, device, load_weights=False), device


def _endless(data: Any, device: Any) -> Iterator[dict[str, Any]]:
    while True:
        for batch in data.train_dataloader():
            yield _on_device(data, batch, device)


def _on_device(data: Any, batch: dict[str, Any], device: Any) -> dict[str, Any]:
    """As Lightning hands it to the network."""
    batch = data.on_before_batch_transfer(batch, 0)
    batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    found: dict[str, Any] = data.on_after_batch_transfer(batch, 0)
    return found


def grow(turns: Turns, overrides: list[str], folds: list[int], folder: str) -> None:
    """One turn: prepare, open, split and go through drawn faces in an empty cache, timing each.

    Args:
        folds: numbers of folds whose splitting is timed.
        folder: for the cache, removed again.
    """
    from emotion.data.dataset import open_store, split_store
    from emotion.data.store import Store
    from emotion.launch import compose

    cache = tempfile.mkdtemp(dir=folder)
    try:
        config, small = (
            compose([*overrides, *more, f"machine.cache_dir={cache}"]) for more in ([], ["data.count=400"])
        )
        import torch  # noqa: F401  what importing takes is measured under start-up

        from emotion.training.assemble import choose_device, make_data

        turns.wait()
        facts: dict[str, float] = {}

        def prepare() -> dict[str, Any]:
            began = time.perf_counter()
            store = open_store(config.data, config.preprocess, config.machine.cache_dir)
            return {"seconds": time.perf_counter() - began, "path": str(store.path), "count": len(store)}

        prepared = _elsewhere(prepare)
        facts["prepare s"], path, count = prepared["seconds"], Path(prepared["path"]), prepared["count"]
        device = choose_device(config.machine.devices)
        next(
            iter(
                make_data(
                    small, open_store(small.data, small.preprocess, Path(cache)), device
                ).train_dataloader()
            )
        )
        _give_back()
        before = _private_bytes()
        began = time.perf_counter()
        store = Store.open(path)
        facts["open s"] = time.perf_counter() - began
        began = time.perf_counter()
        data = make_data(config, store, device)
        facts["split s"] = time.perf_counter() - began
        batches = iter(data.train_dataloader())
        seen = len(next(batches)["label"])
        facts["first batch s"] = facts["open s"] + time.perf_counter() - began
        if before is not None:
            facts["bytes an image beyond the map"] = ((_private_bytes() or 0) - before) / count
        began = time.perf_counter()
        for batch in batches:
            seen += len(batch["label"])
        facts["pass s"] = time.perf_counter() - began
        for number in folds:
            of = compose([*overrides, "fold=0", f"folds={number}"])
            began = time.perf_counter()
            split_store(of, store)
            facts[f"split in {number} folds s"] = time.perf_counter() - began
        turns.report(count / facts["prepare s"], **facts)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _elsewhere(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns in a child process, whose memory goes with it."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writes, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(said)
    return found


def _give_back() -> None:
    """What the small data set took and freed goes back to the system: it would hide what the large one takes."""
    import ctypes
    import gc

    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _private_bytes() -> int | None:
    """Memory of this process that no file stands behind (proc(5), status: RssAnon)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:")), None
    )


def _synchronise(device: Any) -> Any:
    """Waits for a GPU; does nothing for the CPU, which is never behind."""
    import torch

    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def _precision(trainer: Any) -> str:
    return {"32-true": "fp32", "bf16-mixed": "bf16", "16-mixed": "fp16"}.get(
        trainer.precision, trainer.precision
    )
