"""All who ask at once get one answer, and a measurement is of this machine, network and batch."""

import threading
from pathlib import Path

import pytest
import torch

from emotion.launch import compose
from emotion.models import network as door
from emotion.models.classifier import ExpressionClassifier
from emotion.models.device import DevicePreprocess
from emotion.training.measured import Measured, key_of


def test_many_ask_and_one_measures(tmp_path: Path) -> None:
    measured, answers, begun = [], [], threading.Barrier(4)

    def measure() -> str:
        measured.append(1)
        return "bf16" if len(measured) == 1 else "fp32"  # another answer each time, as on a busy machine

    def ask() -> None:
        begun.wait()
        answers.append(Measured(tmp_path / "cache").get("a key", measure))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["bf16"] * 4
    assert Measured(tmp_path / "cache").get("another key", measure) == "fp32"


def test_nowhere_to_write_and_a_broken_file_cost_a_measurement(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Measured(tmp_path / "file" / "cache").get("a", lambda: "bf16") == "bf16"
    (tmp_path / "measured.json").write_text("{")
    assert Measured(tmp_path).get("a", lambda: "bf16") == "bf16"
    assert Measured(tmp_path).get("a", lambda: "fp32") == "bf16"


def test_a_known_answer_doesn_t_wait_for_another_measurement(tmp_path: Path) -> None:
    Measured(tmp_path).get("known", lambda: "bf16")

    def measure() -> str:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(Measured(tmp_path).get("known", lambda: pytest.fail("again")))
        )
        thread.start()
        thread.join(timeout=10)
        assert answers == ["bf16"]
        return "fp32"

    assert Measured(tmp_path).get("unknown", measure) == "fp32"


def test_none_is_not_kept(tmp_path: Path) -> None:
    assert Measured(tmp_path).get("a", lambda: None) is None
    assert Measured(tmp_path).get("a", lambda: 1) == 1


def test_a_key_is_of_network_batch_and_what_is_trained() -> None:
    config = compose(["model=test_resnet"])
    keys = set()
    for size_px, frozen in ((32, []), (64, []), (32, ["backbone.layer1"])):
        network = door.build(config.model.model_copy(update={"freeze": frozen}), config.head, 7, size_px)
        module = DevicePreprocess(3, size_px, [0.5] * 3, [0.25] * 3)
        classifier = ExpressionClassifier(config, network, module, torch.ones(7, dtype=torch.int64))
        for count in (4, 8):
            keys.add(key_of("precision", classifier, torch.zeros(count, 48, 48, 1), torch.device("cpu")))
            assert key_of("precision", classifier, torch.zeros(count, 48, 48, 1), torch.device("cpu")) in keys
    assert len(keys) == 6
