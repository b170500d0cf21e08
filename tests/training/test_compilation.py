"""What `trainer.compile=auto` comes to."""

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
    """What auto comes to where steps take so many seconds, plain and compiled, and compiling so many."""

    def ask(
        plain: float, costs: Costs | None, steps: int, folder: Path, log: Callable[[str], None] = print
    ) -> bool:
        def compiled(*_: object) -> Costs:
            return costs or pytest.fail("it compiled")

        monkeypatch.setattr(compilation, "key_of", lambda *_: "key")
        monkeypatch.setattr(compilation, "_plain", lambda *_: plain)
        monkeypatch.setattr(compilation, "_compiled", compiled)
        return resolve("auto", None, GPU, GPU, "bf16", steps, Measured(folder), log)  # type: ignore[arg-type]

    return ask


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(10_000, False), (10_001, True)],  # 10,000 steps save the 625 s that compiling takes, and no more
)
def test_a_run_that_saves_more_than_compiling_takes_is_compiled(
    on_a_gpu: Callable[..., bool], tmp_path: Path, steps: int, expected: bool
) -> None:
    costs: Costs = {"step_s": 0.0625, "compile_s": 625.0, "failed": ""}
    assert on_a_gpu(0.125, costs, steps, tmp_path) is expected


def test_a_short_run_doesn_t_find_out(on_a_gpu: Callable[..., bool], tmp_path: Path) -> None:
    assert on_a_gpu(0.01, None, 59_999, tmp_path) is False


def test_what_is_known_serves_runs_of_other_lengths(on_a_gpu: Callable[..., bool], tmp_path: Path) -> None:
    costs: Costs = {"step_s": 0.05, "compile_s": 60.0, "failed": ""}
    assert on_a_gpu(0.1, costs, 10_000, tmp_path) is True
    assert on_a_gpu(0.1, None, 100_000, tmp_path) is True
    assert on_a_gpu(0.1, None, 3_000, tmp_path) is False


def test_what_can_t_be_compiled_is_said_and_trained_as_it_is(
    on_a_gpu: Callable[..., bool], tmp_path: Path
) -> None:
    costs: Costs = {"step_s": 0.0, "compile_s": 0.0, "failed": "no triton"}
    said: list[str] = []
    assert on_a_gpu(1.0, costs, 10_000, tmp_path, said.append) is False
    assert said == ["trainer.compile=auto: not compiled, as torch can't compile this network here: no triton"]


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


def _traced(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **keys: compile_(f, **{**keys, "backend": backend}))


def test_measuring_leaves_the_network_alone(
    classifier: ExpressionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a backend that generates no code, on whole and part batches and in evaluation."""
    shapes = []

    def backend(graph: Any, inputs: Any) -> Any:
        shapes.append((graph.training if hasattr(graph, "training") else None, len(inputs)))
        return graph.forward

    _traced(monkeypatch, backend)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    image, label = torch.zeros(6, 32, 32, 1, dtype=torch.uint8), torch.arange(6)
    costs = compilation._compiled(classifier, image, label, "fp32")
    assert costs["failed"] == ""
    assert 0 < costs["step_s"] < costs["compile_s"]
    assert len(shapes) >= 2  # training and evaluation at least
    assert compilation._plain(classifier, image, label, "bf16") > 0
    assert classifier.network._compiled_call_impl is None
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_a_compiler_that_fails_is_a_finding(
    classifier: ExpressionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend(*_: object) -> None:
        raise RuntimeError("no compiler here")

    _traced(monkeypatch, backend)
    image, label = torch.zeros(6, 32, 32, 1, dtype=torch.uint8), torch.arange(6)
    assert "no compiler here" in compilation._compiled(classifier, image, label, "fp32")["failed"]


def test_a_run_records_it_and_is_continued_so(
    run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identity holds what was typed; environment.json what it came to."""
    _traced(monkeypatch, "eager")
    monkeypatch.setattr(compilation, "resolve", lambda *_: True)
    with monkeypatch.context() as patched:
        patched.setattr("emotion.training.run.Run.finish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("trainer.max_epochs=1")
    monkeypatch.setattr(compilation, "resolve", lambda *_: pytest.fail("it is resolved again"))
    done = run("trainer.max_epochs=1")
    assert done.environment["compiled"] is True
    assert done.config["trainer"]["compile"] == "auto"
    assert "threads, fp32, compiled" in done.file("log.txt").read_text()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
