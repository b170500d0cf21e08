"""All who ask at once get one answer, and a measurement is of this machine, network and batch."""

import threading
from pathlib import Path

from emotion.training.measured import Measured


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
