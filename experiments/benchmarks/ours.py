"""Our side of the comparisons, by the ways in that users take. Runs in processes of its own.

Training goes through `emotion.launch.main`, what `python train.py` calls, with an observer among the Trainer's
callbacks; nothing of the run is left out or replaced.
"""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .worker import StepClock, Turns

_ENDLESS = 10**7  # steps: worth compiling for where a step gets faster at all


def first_steps(turns: Turns, **arguments: Any) -> None:
    """As `steps`, of a network's first run on a machine: which precision is faster is measured before."""
    from emotion.data.cache import MEASURED, default_cache_dir

    own = Path(tempfile.mkdtemp(dir=Path.cwd()))
    for entry in default_cache_dir().iterdir():
        if entry.name != MEASURED:
            (own / entry.name).symlink_to(entry.resolve())
    os.environ["EMOTION_CACHE"] = str(own)
    steps(turns, **arguments)


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
                self.clock.waited_s = 0.0
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
    """One turn: prepare drawn faces in an empty cache, then do what a run does with them, timing each step.

    Args:
        folds: numbers of folds whose splitting is timed.
        folder: for the cache, removed again.
    """
    from emotion.data.dataset import open_store, split_store
    from emotion.launch import compose

    cache = tempfile.mkdtemp(dir=folder)
    try:
        here = [*overrides, f"machine.cache_dir={cache}"]
        config, small = (compose([*here, *more]) for more in ([], ["data.count=400"]))
        import torch  # noqa: F401  what importing takes is measured under start-up

        from emotion.training import environment
        from emotion.training.assemble import choose_device, make_classifier, make_data

        turns.wait()
        facts: dict[str, float] = {"prepare s": _prepared_elsewhere(here)}
        _read_once(Path(cache))
        device = choose_device(config.machine.devices)

        def opened(of: Any) -> Any:
            return open_store(of.data, of.preprocess, of.machine.cache_dir)

        next(iter(make_data(small, opened(small), device).train_dataloader()))
        environment.give_back()  # what the small data set took: it would hide what the large one takes
        before = _private_bytes()
        began = time.perf_counter()
        store = opened(config)
        facts["open s"] = time.perf_counter() - began
        data = make_data(config, store, device)
        batches = iter(data.train_dataloader())
        seen = len(next(batches)["label"])
        facts["first batch s"] = time.perf_counter() - began
        count = len(store)
        if before is not None:
            facts["bytes an image beyond the map"] = ((_private_bytes() or 0) - before) / count
        began = time.perf_counter()
        make_classifier(config, data, device, load_weights=False)
        facts["network s"] = time.perf_counter() - began
        facts["first batch s"] += facts["network s"]
        began = time.perf_counter()
        for batch in batches:
            seen += len(batch["label"])
        facts["pass s"] = time.perf_counter() - began
        splits = {"split s": [], **{f"split in {n} folds s": ["fold=0", f"folds={n}"] for n in folds}}
        for step, more in splits.items():
            of = compose([*overrides, *more])
            began = time.perf_counter()
            split_store(of, store)
            facts[step] = time.perf_counter() - began
        turns.report(count / facts["prepare s"], **facts)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _prepared_elsewhere(overrides: list[str]) -> float:
    """Seconds of preparing a data set, in a process of its own, whose memory goes with it."""
    code = f"from {__name__} import prepare; prepare()"
    done = subprocess.run(
        [sys.executable, "-c", code, *overrides], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"preparing failed with {done.returncode}: the lines before say why")
    return float(done.stdout)


def prepare() -> None:
    """Prepare what the command line describes and print the seconds."""
    from emotion.data.dataset import open_store
    from emotion.launch import compose

    config = compose(sys.argv[1:])
    began = time.perf_counter()
    open_store(config.data, config.preprocess, config.machine.cache_dir)
    print(time.perf_counter() - began)


def _read_once(folder: Path) -> None:
    """As by an earlier run: a warm start finds what it reads in memory, however long preparing took."""
    for file in filter(Path.is_file, folder.rglob("*")):
        with file.open("rb", buffering=0) as opened:
            while opened.read(1 << 22):
                pass


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
