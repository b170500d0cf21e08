"""What speed rests on is in force. How fast it is, is the benchmarks' business."""

import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from emotion import cores
from emotion.data import mimic
from emotion.data.datamodule import ExpressionDataModule
from emotion.data.dataset import open_store
from emotion.launch import compose
from emotion.models import optimizers
from emotion.models.classifier import ExpressionClassifier
from emotion.runs import RunFolder
from emotion.schema.learning import SGD, Adam, AdamW
from emotion.training import assemble, environment, precision, threads
from tests.training.conftest import TINY

Run = Callable[..., RunFolder]


@pytest.mark.parametrize(
    ("make", "config"),
    [(optimizers.adam, Adam()), (optimizers.adamw, AdamW()), (optimizers.sgd, SGD())],
    ids=["adam", "adamw", "sgd"],
)
def test_optimizers_are_fused(make: Callable[..., torch.optim.Optimizer], config: Any) -> None:
    made = make(config, [{"params": [nn.Parameter(torch.zeros(2))]}])
    assert made.defaults["fused"] is True


def test_weights_are_channels_last(cache_dir: Path) -> None:
    config = compose(TINY)
    store = open_store(config.data, config.preprocess, cache_dir)
    device = torch.device("cpu")
    classifier = assemble.make_classifier(config, assemble.make_data(config, store, device), device, True)
    kernels = [p for p in classifier.network.parameters() if p.ndim == 4 and p.shape[1] > 1 < p.shape[2]]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc alone is told to"
)
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_is_kept(keep: bool) -> None:
    code = f"""if True:
        from emotion.training.environment import keep_memory
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096
        if {keep}:
            keep_memory()
        before = resident()
        buffer = bytearray(b"1") * 2**26
        del buffer
        print(resident() - before)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (int(said.stdout) > 2**25) == keep


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc alone is told to"
)
def test_what_is_kept_can_be_given_back() -> None:
    code = """if True:
        from emotion.training.environment import give_back, keep_memory
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096
        keep_memory()
        before = resident()
        buffer = bytearray(b"1") * 2**26
        del buffer
        kept = resident() - before
        give_back()
        print(kept, resident() - before)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, left = map(int, said.stdout.split())
    assert kept > 2**25 > left


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("typed", "kept"), [(None, False), ("dirty_decay_ms:60000", True)])
def test_what_polars_frees_goes_back_to_the_system(typed: str | None, kept: bool) -> None:
    code = f"""if True:
        import os
        os.environ.pop("_RJEM_MALLOC_CONF", None)
        if {typed!r}:
            os.environ["_RJEM_MALLOC_CONF"] = {typed!r}
        import emotion, polars
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096
        before = resident()
        numbers = polars.int_range(10**7, eager=True).reverse()
        del numbers
        print(resident() - before)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (int(said.stdout) > 4e7) == kept


def test_the_optimizer_of_a_run_is_fused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    start = ExpressionClassifier.on_train_batch_start

    def seen(self: ExpressionClassifier, *given: Any) -> None:
        found.append(self.trainer.optimizers[0].defaults["fused"])
        start(self, *given)

    monkeypatch.setattr(ExpressionClassifier, "on_train_batch_start", seen)
    run("trainer.max_epochs=1")
    assert set(found) == {True}


@pytest.mark.parametrize(("device", "expected"), [("cpu", 1), ("cuda", assemble.NAN_CHECK_STEPS_GPU)])
def test_a_gpu_is_rarely_asked_whether_the_loss_is_a_number(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch, device: str, expected: int
) -> None:
    config = compose(TINY)
    store = open_store(config.data, config.preprocess, cache_dir)
    data = assemble.make_data(config, store, torch.device("cpu"))
    monkeypatch.setattr(ExpressionClassifier, "to", lambda self, *_, **__: self)
    assert assemble.make_classifier(config, data, torch.device(device), True).check_every == expected
    assert assemble.NAN_CHECK_STEPS_GPU >= 50


def test_a_run_keeps_its_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(environment, "keep_memory", lambda: called.append(True))
    run("trainer.max_epochs=1")
    assert called


@pytest.mark.parametrize("module", ["emotion.training.train", "emotion.training.warm"])
@pytest.mark.parametrize(("wanted", "typed", "expected"), [
    (True, None, "PASSIVE"), (False, None, "None"), (True, "ACTIVE", "ACTIVE"), (False, "ACTIVE", "ACTIVE"),
])  # fmt: skip
def test_threads_sleep_where_others_want_the_cores(
    module: str, wanted: bool, typed: str | None, expected: str
) -> None:
    """The variable counts when torch is imported."""
    code = f"""if True:
        import os, sys
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            os.environ.pop(name, None)
        if {typed!r}:
            os.environ["OMP_WAIT_POLICY"] = {typed!r}
        from emotion.training import threads
        threads.cores_are_wanted = lambda: {wanted}
        class Torch:
            def find_spec(self, name, *rest):
                if name == "torch":
                    print("imported with", os.environ.get("OMP_WAIT_POLICY"))
                    sys.meta_path.remove(self)
        sys.meta_path.insert(0, Torch())
        import {module}, torch
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == f"imported with {expected}\n"


@pytest.mark.parametrize(
    ("running", "ours", "all_cores", "wanted"),
    [
        ([1, 1, 1], 2, 2, False),
        ([2, 2, 3], 2, 2, True),
        ([9, 1, 9], 2, 2, False),  # what runs for a moment only
        ([2, 2, 2], 1, 2, False),
        ([61, 61, 61], 4, 64, False),
        ([62, 62, 62], 4, 64, True),
    ],
)
def test_cores_are_wanted_where_more_runs_than_there_are(
    running: list[int],
    ours: int,
    all_cores: int,
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stat, left = tmp_path / "stat", list(running)

    def sleep(_: float) -> None:
        stat.write_text(f"cpu  1 2 3\nctxt 12\nprocs_running {left.pop(0)}\nprocs_blocked 0\n")

    monkeypatch.setattr(threads, "_STAT", stat)
    monkeypatch.setattr(threads.time, "sleep", sleep)
    monkeypatch.setattr(threads, "whole_cores", lambda: ours)
    monkeypatch.setattr("os.cpu_count", lambda: all_cores)
    assert threads.cores_are_wanted() is wanted
    assert not left


def test_threads_sleep_where_nothing_says_what_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threads, "_STAT", tmp_path / "none")
    assert threads.cores_are_wanted()


class Looks(TorchDispatchMode):
    """Counts what makes a host wait for its device: a value or a size that it has to know, and a copy to it.

    Unseen on a CPU: `to("cpu")`, and what is made on the host and then brought to the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._calls = _Calls(self)

    def __enter__(self) -> "Looks":
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._calls.__exit__(*raised)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):
            # a mask alone has a size that depends on its values
            self.count += any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        elif {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags):
            self.count += 1
        return func(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    """What a CPU's operations don't show: a copy to the host is none there."""

    def __init__(self, looks: Looks) -> None:
        super().__init__()
        self.looks = looks

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.looks.count
        found = func(*args, **(kwargs or {}))
        if func in (torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__):
            self.looks.count += 1
        elif func is F.one_hot:  # checks its classes on a CPU alone
            self.looks.count = before
        return found


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: [0, 1][x[0]],
        lambda x: 1 if x.any() else 2,
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: np.asarray(x),
        lambda x: x.bincount(),
        lambda x: x.unique(),
        lambda x: x.nonzero(),
        lambda x: x[x > 1],
        lambda x: x.masked_select(x > 1),
        lambda x: x.repeat_interleave(x),
        lambda x: torch.equal(x, x),
        lambda x: x.__setitem__(x > 1, torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_a_look_is_counted(look: Callable[[torch.Tensor], Any]) -> None:
    with Looks() as looks:
        look(torch.arange(4))
    assert looks.count == 1


def test_what_a_gpu_does_by_itself_is_no_look() -> None:
    x = torch.arange(4)
    with Looks() as looks:
        F.one_hot(x, 4)[x].float()
        x[[0, 2]] = x[[1, 3]]
    assert looks.count == 0


@contextmanager
def each_step_within(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[int], AbstractContextManager[Any]]
) -> Iterator[list[Any]]:
    """From before a batch's transfer to the end of its step, with all that a GPU is asked to do.

    Args:
        make: what a step is done within, from its number.

    Yields:
        What each step was done within.
    """
    found: list[Any] = []
    end = ExpressionClassifier.on_train_batch_end
    with ExitStack() as step:

        def begun(self: ExpressionDataModule, batch: Any, number: int) -> Any:
            assert self.trainer is not None
            if self.trainer.training:
                self.trainer.lightning_module.check_every = assemble.NAN_CHECK_STEPS_GPU
                found.append(step.enter_context(make(len(found))))
            return batch

        def ended(self: ExpressionClassifier, *given: Any) -> None:
            end(self, *given)
            step.close()

        monkeypatch.setattr(ExpressionDataModule, "on_before_batch_transfer", begun)
        monkeypatch.setattr(ExpressionClassifier, "on_train_batch_end", ended)
        yield found


ON_DEVICE = (
    "trainer.max_epochs=1",
    "evaluation.test=false",
    "augment=basic",
    "augment.backend=device",
    "machine.images=device",
)
OPTIONS = {
    "augmented": ("augment=strong", "augment.hue=0.1"),
    "mixed": ("trainer.mixup=0.4", "trainer.cutmix=1"),
    "clipped": ("trainer.gradient_clip=0.1", "trainer.accumulate=2"),
    "bounded": ("model.l2=1e-4", "model.max_norm=1"),
    "reduced": ("trainer.precision=bf16",),
    "weighted": ("loss.class_weights=balanced", "loss.label_smoothing=0.1"),
    "focal": ("loss=focal", "loss.class_weights=effective", "trainer.cutmix=1"),
    "ldam": ("loss=ldam", "loss.class_weights=effective", "head=cosine"),
    "soft": ("data=ferplus", "~data.count", "~data.imbalance", "data.label_rule=cross_entropy", "loss=ldam"),
    "adjusted": ("loss=logit_adjusted", "optimizer=sgd", "schedule=one_cycle"),
    "adadelta": ("optimizer=adadelta", "schedule=plateau", "model.freeze=[backbone.layer1]"),
    "rmsprop": ("optimizer=rmsprop", "optimizer.momentum=0.9"),
}


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def options(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """What changes a step."""
    if "data=ferplus" not in request.param:
        return (*ON_DEVICE, *request.param)
    mimic.draw("ferplus", tmp_path / "ferplus", 140)
    return (*ON_DEVICE, *request.param, f"data.root={tmp_path}/ferplus")


@pytest.fixture(params=["on_train_batch_start", "training_step", "on_before_zero_grad"])
def planted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look in every step."""
    theirs = getattr(ExpressionClassifier, request.param)

    def looking(self: ExpressionClassifier, *given: Any) -> Any:
        self._loss_sum.item()
        return theirs(self, *given)

    monkeypatch.setattr(ExpressionClassifier, request.param, looking)


def test_no_step_waits_for_the_device(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    with each_step_within(monkeypatch, lambda number: Looks()) as steps:
        run(*options)
    assert len(steps) > 3
    assert {looks.count for looks in steps} == {0}


@pytest.mark.usefixtures("planted")
def test_a_look_in_a_step_is_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with each_step_within(monkeypatch, lambda number: Looks()) as steps:
        run(*ON_DEVICE)
    assert len(steps) > 3
    assert {looks.count for looks in steps} == {1}


def waiting_is_an_error(step: int) -> AbstractContextManager[Any]:
    """torch's own watch over a GPU, which sees every copy. The first step may bring the images there."""

    @contextmanager
    def watched() -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return watched() if step else nullcontext()


ON_GPU = ("machine.devices=cuda", "trainer.compile=false")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
# https://docs.pytorch.org/docs/stable/generated/torch.cuda.set_sync_debug_mode.html
experimental = pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")


@needs_gpu
@experimental
def test_no_step_waits_for_a_gpu(run: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    with each_step_within(monkeypatch, waiting_is_an_error) as steps:
        run(*options, *ON_GPU)
    assert len(steps) > 3


@needs_gpu
@experimental
@pytest.mark.usefixtures("planted")
def test_a_look_in_a_gpu_s_step_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(RuntimeError, match="synchronizing CUDA operation"),
        each_step_within(monkeypatch, waiting_is_an_error),
    ):
        run(*ON_DEVICE, *ON_GPU)


@pytest.mark.parametrize(
    ("seconds", "expected"), [((1.0, 0.8), "bf16"), ((1.0, 0.9), "fp32"), ((1.0, 2.0), "fp32")]
)
def test_auto_is_bf16_where_it_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], expected: str
) -> None:
    """By a clock that goes on in the forward pass alone, as far as its precision takes."""
    clock = [0.0]

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            clock[0] += seconds[torch.is_autocast_enabled("cpu")]
            return self.weight * image.float().mean()

        def loss(self, found: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return found

    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    image, label = torch.zeros(2, 4, 4, 1, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    assert precision._measure(Slow(), image, label) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "expected"),
    [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), (None, 8)],
)
def test_cores_are_those_that_a_container_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str | None, expected: int
) -> None:
    quota = tmp_path / "cpu.max"
    if said is not None:
        quota.write_text(f"{said}\n")
    monkeypatch.setattr(cores, "_QUOTA", quota)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert cores.cores() == expected


@pytest.mark.parametrize(
    ("allowed", "siblings", "quota", "expected"),
    [
        ({0, 1, 2, 3}, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, "max", 2),
        ({0, 1, 2, 3}, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, "100000", 1),
        ({0, 1}, {0: "0,2", 1: "1,3"}, "max", 2),  # one processor of each core
        ({0, 1, 2}, {0: "0", 1: "1", 2: "2"}, "max", 3),
        ({0, 1, 2}, {0: "0"}, "max", 3),  # where the system doesn't say, each counts
    ],
)
def test_processors_of_one_core_are_one_for_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    allowed: set[int],
    siblings: dict[int, str],
    quota: str,
    expected: int,
) -> None:
    for number, said in siblings.items():
        (tmp_path / f"cpu{number}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(f"{said}\n")
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
    monkeypatch.setattr(cores, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: allowed, raising=False)
    assert environment.resolve_threads("auto") == expected
    assert environment.resolve_threads("auto", at_once=2) == max(1, expected // 2)
    assert environment.resolve_threads(5, at_once=2) == 5


@pytest.mark.parametrize(("at_once", "expected"), [(1, 4), (2, 4), (4, 2), (16, 0)])
def test_jobs_at_once_share_the_processors_that_fetch(
    monkeypatch: pytest.MonkeyPatch, at_once: int, expected: int
) -> None:
    monkeypatch.setattr(environment, "cores", lambda: 16)
    assert environment.resolve_workers("auto", "cuda", at_once) == expected
    assert environment.resolve_workers("auto", "cpu", at_once) == 0
    assert environment.resolve_workers(3, "cuda", at_once) == 3


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["cpu family\t: 26", "model\t\t: 2", "model name\t: AMD EPYC"], "AMD EPYC (family 26, model 2)"),
        (["cpu family\t: 6", "model\t\t: 158", "model name\t: Intel i7-9750H"], "Intel i7-9750H"),
        (["model name\t: ARM"], "ARM"),
    ],
)  # fmt: skip
def test_a_processor_has_a_name_that_tells_it_from_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str], expected: str
) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\n" + "\n".join(lines) + "\n\nprocessor\t: 1\nmodel name\t: other\n"
    )
    monkeypatch.setattr(environment, "_CPUINFO", tmp_path / "cpuinfo")
    assert environment.cpu_name() == expected
