"""TensorBoard as a view of run folders: the scalars of every epoch, in the folder's `tensorboard/`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from emotion.errors import EmotionError
from emotion.reporting.album import ImageLookup
from emotion.runs import RunFolder
from emotion.schema.machine import TensorboardLogger


class TensorboardView:
    """Event files of a run folder, written anew from metrics.csv each time the folder is opened.

    Raises:
        EmotionError: TensorBoard isn't installed.
    """

    def __init__(self, run: RunFolder, options: TensorboardLogger, images: ImageLookup | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise EmotionError(
                "expected the package tensorboard, found that it isn't installed: pip install 'emotion[tensorboard]'."
            ) from error
        self.folder = run
        there = run.file("tensorboard")
        shutil.rmtree(there, ignore_errors=True)  # two event files of one run would be drawn over one another
        self._writer = SummaryWriter(str(there))
        self.url = str(there)
        if run.file("metrics.csv").is_file():
            for row in run.history().to_dicts():
                self.epoch(row, None)

    def epoch(self, row: Mapping[str, float], confusion: Sequence[Sequence[int]] | None) -> None:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                self._writer.add_scalar(name, value, int(row["epoch"]))

    def publish(self) -> None:
        """The final scores."""
        run = self.folder
        for part in ("val", "test"):
            for name, value in run.metrics.get(part, {}).items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(f"final/{part}/{name}", value)

    def close(self, exit_code: int) -> None:
        self._writer.close()
