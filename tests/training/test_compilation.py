"""What `trainer.compile=auto` comes to."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from emotion.launch import compose
from emotion.models.classifier import ExpressionClassifier
from emotion.models.device import DevicePreprocess
from emotion.models.network import build
from emotion.runs import RunFolder
from emotion.training import compilation
from emotion.training.compilation import Costs, resolve
from emotion.training.measured import Measured

GPU: Any = SimpleNamespace(device=torch.device("cuda"))  # of the batch, only the device is looked at


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """What auto comes to where a plain step takes so many seconds, and compiled ones what `costs` finds."""

    def ask(plain: float | None, costs: Callable[[], Costs | None], steps: int, folder: Path) -> bool:
        monkeypatch.setattr(compilation, "key_of", lambda *_: "key")
        monkeypatch.setattr(compilation, "_plain", lambda *_: plain)
        monkeypatch.setattr(compilation, "_compiled", lambda *_: costs())
        return resolve("auto", None, GPU, GPU, "bf16", steps, Measured(folder), print)  # type: ignore[arg-type]

    return ask


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(10_000, False), (10_001, True)],  # 10,000 steps save the 625 s that compiling takes, and no more
)
def test_a_run_that_saves_more_than_compiling_takes_is_compiled(
    on_a_gpu: Callable[..., bool], tmp_path: Path, steps: int, expected: bool
) -> None:
    costs: Costs = {"step_s": 0.0625, "compile_s": 625.0}
    assert on_a_gpu(0.125, lambda: costs, steps, tmp_path) is expected


def test_a_short_run_doesn_t_find_out(on_a_gpu: Callable[..., bool], tmp_path: Path) -> None:
    assert on_a_gpu(0.01, lambda: pytest.fail("it compiled"), 59_999, tmp_path) is False


def test_what_is_known_serves_runs_of_other_lengths(on_a_gpu: Callable[..., bool], tmp_path: Path) -> None:
    costs: Costs = {"step_s": 0.05, "compile_s": 60.0}
    assert on_a_gpu(0.1, lambda: costs, 10_000, tmp_path) is True
    assert on_a_gpu(0.1, lambda: pytest.fail("it compiled"), 100_000, tmp_path) is True
    assert on_a_gpu(0.1, lambda: pytest.fail("it compiled"), 3_000, tmp_path) is False


def test_what_can_t_be_compiled_is_trained_as_it_is_and_tried_again(
    on_a_gpu: Callable[..., bool], tmp_path: Path
) -> None:
    assert on_a_gpu(1.0, lambda: None, 10_000, tmp_path) is False
    assert on_a_gpu(1.0, lambda: {"step_s": 0.5, "compile_s": 60.0}, 10_000, tmp_path) is True


def test_what_no_memory_is_left_to_measure_is_trained_as_it_is(
    on_a_gpu: Callable[..., bool],
    classifier: ExpressionClassifier,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(compilation, "_train", full)
    found = compilation._plain(classifier, *_batch(), "fp32")
    assert found is None
    assert on_a_gpu(found, lambda: pytest.fail("it compiled"), 10**6, tmp_path) is False


@pytest.mark.parametrize("typed", [True, False])
def test_what_is_typed_is_done(typed: bool, tmp_path: Path) -> None:
    assert resolve(typed, None, GPU, GPU, "bf16", 1, Measured(tmp_path), print) is typed  # type: ignore[arg-type]


@pytest.fixture
def classifier() -> ExpressionClassifier:
    config = compose(["model=test_resnet"])
    network = build(config.model, config.head, 7, 32)
    return ExpressionClassifier(
        config, network, DevicePreprocess(3, 32, [0.5] * 3, [0.25] * 3), torch.ones(7, dtype=torch.int64)
    )


Graphs = list[tuple[int, bool]]  # of each graph that was compiled: images a batch, and whether with gradients


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """What torch.compile is asked for, by a backend that generates no code, which would need a compiler."""
    found: Graphs = []
    compile_ = torch.compile

    def backend(graph: Any, inputs: Any) -> Any:
        batches = {
            len(one)
            for one in inputs
            if isinstance(one, torch.Tensor) and one.ndim == 4 and one.shape[2] == 32
        }
        found.append((int(next(iter(batches), 0)), torch.is_grad_enabled()))
        return graph.forward

    monkeypatch.setattr(
        torch, "compile", lambda f, **keys: compile_(f, **{**keys, "backend": backend, "dynamic": False})
    )
    torch.compiler.reset()
    return found


def _batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(count, 32, 32, 1, dtype=torch.uint8), torch.arange(count)


def test_measuring_goes_through_what_a_run_has_and_leaves_the_network_alone(
    classifier: ExpressionClassifier, graphs: Graphs
) -> None:
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    costs = compilation._compiled(classifier, *_batch(), "fp32", print)
    assert costs is not None
    assert 0 < costs["step_s"] < costs["compile_s"]
    assert set(graphs) == {(6, True), (4, True), (6, False)}  # a whole batch, an epoch's last one, evaluation
    assert compilation._plain(classifier, *_batch(), "bf16") > 0
    assert classifier.network._compiled_call_impl is None
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_many_networks_of_one_process_are_all_compiled(
    classifier: ExpressionClassifier, graphs: Graphs
) -> None:
    """torch compiles a function eight times, then never again; all networks share theirs."""
    for _ in range(4):
        graphs.clear()
        assert compilation._compiled(classifier, *_batch(), "fp32", print)
        assert len(set(graphs)) == 3


@pytest.mark.parametrize("error", [RuntimeError("no compiler here"), AssertionError()])
def test_a_compiler_that_fails_is_said(
    classifier: ExpressionClassifier, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(compilation, "_train", fail)
    said: list[str] = []
    assert compilation._compiled(classifier, *_batch(), "fp32", said.append) is None
    assert f"can't compile this network here: {type(error).__name__}: {error}".strip() in said[-1]


def test_a_run_records_it_and_is_continued_so(
    run: Callable[..., RunFolder], graphs: Graphs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = _stopped_after_the_first_epoch(run, monkeypatch, tmp_path, "trainer.compile=true")
    assert folder.environment["compiled"] is True
    assert graphs
    monkeypatch.setattr(compilation, "resolve", lambda *_: pytest.fail("it is resolved again"))
    graphs.clear()
    done = run("trainer.compile=true")
    assert done.path == folder.path
    assert graphs
    assert done.environment["compiled"] is True
    assert done.file("log.txt").read_text().count("thread, fp32, compiled") == 2


@pytest.mark.parametrize("begun_on_a_gpu", [True, False])  # or by a version that didn't write it down
def test_what_auto_compiled_elsewhere_goes_on_uncompiled_on_a_cpu(
    run: Callable[..., RunFolder],
    graphs: Graphs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    begun_on_a_gpu: bool,
) -> None:
    folder = _stopped_after_the_first_epoch(run, monkeypatch, tmp_path)
    kept = folder.environment
    assert kept.pop("compiled") is False
    folder.file("environment.json").write_text(
        json.dumps(kept | ({"compiled": True} if begun_on_a_gpu else {}))
    )
    assert run().environment["compiled"] is False
    assert not graphs


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [((), 2 * 7), (("trainer.limit_train_batches=2",), 2 * 2), (("trainer.limit_train_batches=0.5",), 2 * 3),
     (("trainer.limit_train_batches=99",), 2 * 7)],
)  # fmt: skip
def test_the_steps_of_the_whole_run_decide(
    run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], expected: int
) -> None:
    asked: list[int] = []

    def resolve(*given: Any) -> bool:
        asked.append(given[5])
        raise KeyboardInterrupt

    monkeypatch.setattr(compilation, "resolve", resolve)
    with pytest.raises(KeyboardInterrupt):
        run(*overrides)
    assert asked == [expected]


def _stopped_after_the_first_epoch(
    run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *overrides: str
) -> RunFolder:
    def line(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.run.epoch_line", line)
        with pytest.raises(KeyboardInterrupt):
            run(*overrides)
    (status,) = (tmp_path / "runs").glob("*/status.json")
    return RunFolder.open(status.parent)
