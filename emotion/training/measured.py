"""What short measurements on this machine came to, so that alike runs and a sweep's jobs agree."""

import json
import platform
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from emotion import atomic
from emotion.models.classifier import ExpressionClassifier
from emotion.training import environment
from emotion.waiting import alone

T = TypeVar("T")


class Measured:
    """Results by key, in a file. The first job of a sweep measures, before its first step; those beside it wait for it.

    Args:
        cache_dir: where prepared data lies; the file is a machine's, like it.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._file = cache_dir / "measured.json"

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
    return json.dumps(
        [
            what, platform.node(), name, torch.get_num_threads(), torch.__version__, environment.version(),
            classifier.network.description, sum(p.requires_grad for p in classifier.parameters()), list(image.shape),
        ],
        sort_keys=True,
    )  # fmt: skip
