"""What short measurements came to, kept so that alike runs, and all jobs of a sweep, agree."""

import json
import platform
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from emotion import atomic
from emotion.data.cache import MEASURED
from emotion.models.classifier import ExpressionClassifier
from emotion.training import environment
from emotion.waiting import alone

T = TypeVar("T")


class Measured:
    """Results by key, in a file. The first job of a sweep measures, before its first step; those beside it wait for it.

    Args:
        folder: of the file. Beside prepared data it is the machine's, in a sweep's folder the sweep's.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / MEASURED

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text())
        except (OSError, json.JSONDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def get(self, key: str, measure: Callable[[], T]) -> T:
        """What is known of `key`, or else what `measure` finds: by one process, for which the others wait.

        One at a time, whatever they measure: side by side they would measure each other.

        Args:
            measure: gives plain data. None isn't kept: the next one measures again.
        """
        known = self._read().get(key)
        if known is not None:
            return known
        with ExitStack() as held:
            with suppress(OSError):  # nowhere to write: every process measures for itself
                self._file.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(alone(self._file.with_suffix(".lock"), "measures what is faster here"))
            known = self._read().get(key)
            if known is None:
                known = measure()
                with suppress(OSError):
                    if known is not None:
                        atomic.write_json(self._file, {**self._read(), key: known})
            return known


def key_of(what: str, classifier: ExpressionClassifier, image: Tensor, device: torch.device) -> str:
    """A key of all that the time of a training step depends on: machine, versions, network, batch."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else environment.cpu_name()
    machine = [platform.node(), name, torch.get_num_threads(), torch.__version__]
    commit, _ = environment.code_version()
    return json.dumps([*machine, environment.version(), commit, work_of(what, classifier, image)])


def work_of(what: str, classifier: ExpressionClassifier, image: Tensor) -> str:
    """A key of network and batch alone, for what holds on every machine of a sweep."""
    trained = sum(parameter.requires_grad for parameter in classifier.parameters())
    return json.dumps([what, classifier.network.description, trained, list(image.shape)], sort_keys=True)
