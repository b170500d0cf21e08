"""What `emotion explain` leaves in a run folder: galleries of saliency maps and of feature maps, for the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from emotion import atomic
from emotion.data.dataset import open_store
from emotion.data.store import Store
from emotion.errors import ConfigError, DataError
from emotion.evaluation import predictions
from emotion.evaluation.predictions import Predictions
from emotion.models.saliency import Method, default_layer, layers, recorded, saliency
from emotion.predictor import Predictor
from emotion.reporting import figures
from emotion.reporting.mistakes import by_pair
from emotion.runs import FORMAT, RunFolder
from emotion.schema import validate
from emotion.training.environment import keep_memory

SHOWN, AVERAGED, PAIRS = 8, 32, 3
CHANNELS = 12  # of each layer, those with the largest variance
BATCH = 64  # small batches spend more time between two cores than on them

Progress = Callable[[int, int], None]


class Explainer:
    """A run's best network, its data and its answers.

    Args:
        layer: whose maps, unless the method is occlusion; None: the deepest with maps fine enough for a face.

    Raises:
        EmotionError: the run has no weights or predictions, or its data is gone or has changed.
    """

    def __init__(self, run: RunFolder, method: Method = "layer_cam", layer: str | None = None) -> None:
        self.run, self.method = run, method
        run.require_weights()  # said before the data is asked for
        config = validate(run.config)
        self.store: Store = open_store(config.data, config.preprocess, config.machine.cache_dir)
        if self.store.fingerprint != run.splits["data"]["fingerprint"]:
            raise DataError(
                f"expected the data that {run.name} was trained on, found that it has changed since."
            )
        self.predictor = Predictor.from_run(run.path)
        self.predictor.network.to(memory_format=torch.channels_last)  # as the device module's images are
        self.part = "test" if run.has("test") else "val"
        self.table: Predictions = predictions.read(
            run.predictions("test" if self.part == "test" else "val"), self.predictor.classes
        )
        self._rows = {sample: row for row, sample in enumerate(self.store.frame["id"])}
        self.layer = layer
        if method != "occlusion" and layer is None:
            self.layer = default_layer(self.predictor.network, self._input([0])).name

    def pixels(self, rows: Sequence[int]) -> np.ndarray:
        """The stored images of rows of the prediction table: (N, H, W, C) uint8."""
        return np.stack([self.store.images[self._rows[self.table.ids[row]]] for row in rows])

    def _input(self, rows: Sequence[int]) -> torch.Tensor:
        return self.predictor.device_module(torch.from_numpy(self.pixels(rows)))

    def maps(
        self, rows: Sequence[int], targets: np.ndarray | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """What in each image speaks for a class: (N, S, S) float32 in [0, 1].

        Args:
            targets: (N,) int64, the classes; None: the answers.
        """
        classes = torch.as_tensor(self.table.predicted[list(rows)] if targets is None else targets)
        found = []
        for start in range(0, len(rows), BATCH):
            some, wanted = rows[start : start + BATCH], classes[start : start + BATCH]
            network = self.predictor.network
            found.append(saliency(network, self._input(some), wanted, self.method, self.layer).numpy())
            if progress:
                progress(min(start + BATCH, len(rows)), len(rows))
        return np.concatenate(found)

    def typical(self, label: int, count: int) -> list[int]:
        """Rows of a class that were answered right, the surest first."""
        right = np.flatnonzero((self.table.labels == label) & (self.table.predicted == label))
        return right[np.argsort(-self.table.confidence[right], kind="stable")][:count].tolist()

    def pair(self, label: str, answer: str, count: int) -> list[int]:
        """Rows of one class that were taken for another, the surest first.

        Raises:
            ConfigError: a class is unknown.
        """
        for name in (label, answer):
            if name not in self.table.classes:
                raise ConfigError(f"expected classes out of {', '.join(self.table.classes)}, found {name!r}.")
        a, b = self.table.classes.index(label), self.table.classes.index(answer)
        rows = np.flatnonzero((self.table.labels == a) & (self.table.predicted == b))
        return rows[np.argsort(-self.table.confidence[rows], kind="stable")][:count].tolist()

    def feature_maps(self, rows: Sequence[int], layer: str) -> np.ndarray:
        """The channels of a layer that differ most over the images: (N, `CHANNELS`, h, w) float32."""
        with torch.inference_mode(), recorded(self.predictor.network, layer) as outputs:
            self.predictor.network(self._input(rows))
        maps = outputs[0].float()
        strongest = maps.var((0, 2, 3)).argsort(descending=True)[:CHANNELS]
        return maps[:, strongest].numpy()


def explain(
    run: RunFolder,
    method: Method = "layer_cam",
    layer: str | None = None,
    pairs: Sequence[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> None:
    """Write `explanation/`: PNG sheets, and `sheets.json` that says what each one shows.

    Args:
        pairs: (label, answer) of confusions to show; without any, the most frequent ones.

    Raises:
        EmotionError: as `Explainer`, or an unknown class or layer.
    """
    keep_memory()
    explainer = Explainer(run, method, layer)
    table = explainer.table
    wanted = list(pairs) or [
        (table.classes[label], table.classes[answer]) for label, answer, _, _ in by_pair(table, PAIRS, 1)
    ]
    confused = {pair: explainer.pair(*pair, SHOWN) for pair in wanted}
    typical = {name: explainer.typical(k, AVERAGED) for k, name in enumerate(table.classes)}
    typical = {name: rows for name, rows in typical.items() if rows}
    everyone = sorted({row for rows in (*typical.values(), *confused.values()) for row in rows})
    if not everyone:
        raise DataError(f"expected right answers or confusions to explain in {run.name}, found none.")
    mistaken = [row for rows in confused.values() for row in rows]
    shown = [*everyone, *mistaken]
    classes = np.concatenate([table.predicted[everyone], table.labels[mistaken]])
    maps = explainer.maps(shown, classes, progress)
    found = dict(zip(everyone, maps[: len(everyone)], strict=True))
    of_labels = dict(zip(mistaken, maps[len(everyone) :], strict=True))
    images = dict(zip(everyone, explainer.pixels(everyone), strict=True))

    there = run.file("explanation")
    shutil.rmtree(there, ignore_errors=True)  # sheets of another method or layer would be taken for ours
    sheets: list[dict[str, Any]] = []
    notes: list[str] = []

    def sheet(
        name: str, title: str, caption: str, rows: Sequence[Sequence[np.ndarray]], labels: Sequence[str]
    ) -> None:
        figures.sheet(rows, there / f"{name}.png", labels)
        sheets.append({"file": f"{name}.png", "title": title, "caption": caption})

    def overlaid(rows: Sequence[int], maps: Mapping[int, np.ndarray] = found) -> list[np.ndarray]:
        return [figures.overlay(images[row], maps[row]) for row in rows]

    def average(rows: Sequence[int]) -> np.ndarray:
        image = np.mean([images[row] for row in rows], 0).astype(np.uint8)
        saliency = np.mean([found[row] for row in rows], 0)
        return figures.overlay(image, saliency / max(float(saliency.max()), 1e-12))

    if typical:
        sheet(
            "classes",
            "What speaks for each class",
            f"The surest right answers of the {explainer.part} part.",
            [overlaid(rows[:SHOWN]) for rows in typical.values()],
            list(typical),
        )
        sheet(
            "averages",
            "Average maps",
            f"The mean of up to {AVERAGED} right answers a class, scaled to its maximum, on their mean image: "
            f"{', '.join(typical)}.",
            [[average(rows) for rows in typical.values()]],
            [],
        )
    for number, ((label, answer), rows) in enumerate(confused.items(), start=1):
        if rows:
            sheet(
                f"pair-{number}",
                f"{label} taken for {answer}",
                f"What spoke for {answer}, and what for {label}; the surest of these mistakes.",
                [overlaid(rows), overlaid(rows, of_labels)],
                [f"for {answer}", f"for {label}"],
            )
        else:
            notes.append(f"No image of {label} in the {explainer.part} part was taken for {answer}.")
    examples = [rows[0] for rows in typical.values()] or everyone[:1]
    labels = list(typical) or [""]
    for number, one in enumerate(
        layers(explainer.predictor.network, explainer._input([examples[0]])), start=1
    ):
        channels = explainer.feature_maps(examples, one.name)
        pictured = [
            [images[row], *map(figures.heat, each)] for row, each in zip(examples, channels, strict=True)
        ]
        sheet(
            f"features-{number}",
            f"Feature maps of {one.name}",
            f"{one.channels} channels of {one.edge}×{one.edge}; those {len(channels[0])} that differ most.",
            pictured,
            labels,
        )
    facts = {
        "format": FORMAT,
        "method": method,
        "layer": explainer.layer,
        "part": explainer.part,
        "sheets": sheets,
        "notes": notes,
    }
    atomic.write_json(there / "sheets.json", facts)
