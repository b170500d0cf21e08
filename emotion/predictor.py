"""Prediction with a finished run: the checkpoint's own preprocessing, network and label order, nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from emotion.data.images import decode
from emotion.data.preparation import Preparation
from emotion.errors import DataError
from emotion.models import network as door
from emotion.models.device import DevicePreprocess, class_probabilities
from emotion.runs import RunFolder
from emotion.training import checkpoint

Image = str | Path | np.ndarray

BATCH = 64
STORED_BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """One face: the most probable perceived expression, and the probability of each."""

    label: str
    probabilities: dict[str, float]


class Predictor:
    """A trained network with its preprocessing. Made by `emotion.load_run`.

    Attributes:
        classes: names in the order of the network's outputs.
    """

    def __init__(self, contents: dict[str, Any]) -> None:
        self.classes: tuple[str, ...] = tuple(contents["classes"])
        self.preparation = Preparation.from_dict(contents["preparation"])
        self.device_module = DevicePreprocess.from_dict(contents["device"])
        self.network = door.rebuild(contents["network"])
        self.network.load_state_dict(contents["state_dict"])
        self.network.eval()
        self.tta: str = contents["config"]["evaluation"]["tta"]

    @classmethod
    def from_run(cls, path: str | Path) -> Self:
        """The best weights of the run in `path`.

        Raises:
            RunError: no run, or no weights: a run has some after its first epoch.
        """
        return cls(checkpoint.load_weights(RunFolder.open(path).require_weights()))

    def predict(self, images: Image | Sequence[Image] | np.ndarray) -> list[Prediction]:
        """The perceived expression of each image, which shows one face, already cropped.

        Args:
            images: files, or uint8 arrays (H, W) grey or (H, W, 3) RGB; one of them, or several.

        Raises:
            DataError: an image can't be read; the text names it.
        """
        return [self._told(p) for p in self.probabilities(images)]

    def predict_each(self, images: Sequence[Image]) -> Iterator[Prediction | DataError]:
        """As `predict`, one after the other; for an image that can't be read, the error that says so."""
        for start in range(0, len(images), BATCH):
            read: list[np.ndarray | DataError] = []
            for image in images[start : start + BATCH]:
                try:
                    read.append(self._prepare(image))
                except DataError as error:
                    read.append(error)
            whole = [pixels for pixels in read if isinstance(pixels, np.ndarray)]
            found = iter(self._of_prepared(whole) if whole else ())
            for one in read:
                yield one if isinstance(one, DataError) else self._told(next(found))

    def _told(self, p: np.ndarray) -> Prediction:
        return Prediction(self.classes[int(p.argmax())], dict(zip(self.classes, p.tolist(), strict=True)))

    def probabilities(self, images: Image | Sequence[Image] | np.ndarray) -> np.ndarray:
        """(N, K) float32, columns in the order of `classes`."""
        if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
            images = [images]
        found = []
        for start in range(0, len(images), BATCH):
            found.append(self._of_prepared([self._prepare(image) for image in images[start : start + BATCH]]))
        return np.concatenate(found) if found else np.empty((0, len(self.classes)), np.float32)

    @torch.inference_mode()
    def stored_probabilities(self, images: np.ndarray, rows: np.ndarray, device: torch.device) -> np.ndarray:
        """(N, K) float32 for images that are prepared already.

        Args:
            images: (M, S, S, C) uint8, as this network's preparation makes them.
            rows: (N,) which of them.
            device: where to compute; the network stays there.
        """
        self.network.to(device)
        self.device_module.to(device)
        found = []
        for start in range(0, len(rows), STORED_BATCH):
            pixels = torch.from_numpy(np.array(images[rows[start : start + STORED_BATCH]])).to(device)
            found.append(self._averaged(pixels).cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, len(self.classes)), np.float32)

    @torch.inference_mode()
    def _of_prepared(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return self._averaged(torch.from_numpy(np.stack(images))).numpy()

    def _averaged(self, pixels: torch.Tensor) -> torch.Tensor:
        return class_probabilities(lambda image: self.network(self.device_module(image)), pixels, self.tta)

    def _prepare(self, image: str | Path | np.ndarray) -> np.ndarray:
        if isinstance(image, np.ndarray):
            return self.preparation(image)
        path = Path(image).expanduser()
        try:
            return self.preparation(decode(path.read_bytes(), self.preparation.channels))
        except OSError as error:
            raise DataError(f"expected an image, but {path} can't be read: {error.strerror}.") from error
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
