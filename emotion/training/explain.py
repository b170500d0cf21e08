"""What `emotion explain` leaves in a run folder: galleries of saliency maps and of feature maps, for the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from emotion import atomic
from emotion.errors import ConfigError, DataError
from emotion.evaluation import predictions
from emotion.evaluation.predictions import Predictions
from emotion.models.saliency import Layer, Method, default_layer, layers, recorded, saliency
from emotion.predictor import Predictor
from emotion.reporting import figures
from emotion.reporting.mistakes import by_pair
from emotion.runs import FORMAT, RunFolder
from emotion.training.environment import keep_memory
from emotion.training.own_data import own_store

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
        self.store = own_store(run)
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

    def layers(self) -> list[Layer]:
        """The network's, whose feature maps are worth a look."""
        return layers(self.predictor.network, self._input([0]))

    def feature_maps(self, rows: Sequence[int], layer: str) -> np.ndarray:
        """The channels of a layer that differ most over the images: (N, `CHANNELS`, h, w) float32."""
        with torch.inference_mode(), recorded(self.predictor.network, layer) as outputs:
            self.predictor.network(self._input(rows))
        maps = outputs[0].float()
        strongest = maps.var((0, 2, 3)).argsort(descending=True)[:CHANNELS]
        return maps[:, strongest].numpy()


@dataclass(frozen=True)
class _Shown:
    """The images on the sheets and what speaks in them for a class, by their rows in the prediction table.

    Attributes:
        images: (H, W, C) uint8.
        for_answer: (S, S) float32 in [0, 1], of each image.
        for_label: the same, of each mistake.
    """

    images: Mapping[int, np.ndarray]
    for_answer: Mapping[int, np.ndarray]
    for_label: Mapping[int, np.ndarray]

    @classmethod
    def of(
        cls, explainer: Explainer, rows: Sequence[int], mistakes: Sequence[int], progress: Progress | None
    ) -> _Shown:
        table = explainer.table
        classes = np.concatenate([table.predicted[rows], table.labels[mistakes]])
        maps = explainer.maps([*rows, *mistakes], classes, progress)
        return cls(
            dict(zip(rows, explainer.pixels(rows), strict=True)),
            dict(zip(rows, maps[: len(rows)], strict=True)),
            dict(zip(mistakes, maps[len(rows) :], strict=True)),
        )

    def answers(self, rows: Sequence[int]) -> list[np.ndarray]:
        return [figures.overlay(self.images[row], self.for_answer[row]) for row in rows]

    def labels(self, rows: Sequence[int]) -> list[np.ndarray]:
        return [figures.overlay(self.images[row], self.for_label[row]) for row in rows]

    def average(self, rows: Sequence[int]) -> np.ndarray:
        image = np.mean([self.images[row] for row in rows], 0).astype(np.uint8)
        saliency = np.mean([self.for_answer[row] for row in rows], 0)
        return figures.overlay(image, saliency / max(float(saliency.max()), 1e-12))


class _Sheets:
    """Writes sheets into a folder, which is emptied first, and keeps what `sheets.json` will say of them."""

    def __init__(self, there: Path) -> None:
        self._there = there
        self.known: list[dict[str, str]] = []
        self.notes: list[str] = []
        shutil.rmtree(there, ignore_errors=True)  # sheets of another method or layer would be taken for ours

    def add(
        self,
        name: str,
        title: str,
        caption: str,
        rows: Sequence[Sequence[np.ndarray]],
        labels: Sequence[str] = (),
    ) -> None:
        figures.sheet(rows, self._there / f"{name}.png", labels)
        self.known.append({"file": f"{name}.png", "title": title, "caption": caption})


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
    mistakes = [row for rows in confused.values() for row in rows]
    shown = _Shown.of(explainer, everyone, mistakes, progress)
    there = run.file("explanation")
    sheets = _Sheets(there)
    if typical:
        _add_classes(sheets, shown, typical, explainer.part)
    _add_pairs(sheets, shown, confused, explainer.part)
    examples = {name: rows[0] for name, rows in typical.items()} or {"": everyone[0]}
    _add_features(sheets, shown, examples, explainer)
    facts = {
        "format": FORMAT,
        "method": method,
        "layer": explainer.layer,
        "part": explainer.part,
        "sheets": sheets.known,
        "notes": sheets.notes,
    }
    atomic.write_json(there / "sheets.json", facts)


def _add_classes(sheets: _Sheets, shown: _Shown, typical: Mapping[str, Sequence[int]], part: str) -> None:
    sheets.add(
        "classes",
        "What speaks for each class",
        f"The surest right answers of the {part} part.",
        [shown.answers(rows[:SHOWN]) for rows in typical.values()],
        list(typical),
    )
    sheets.add(
        "averages",
        "Average maps",
        f"The mean of up to {AVERAGED} right answers a class, scaled to its maximum, on their mean image: "
        f"{', '.join(typical)}.",
        [[shown.average(rows) for rows in typical.values()]],
    )


def _add_pairs(
    sheets: _Sheets, shown: _Shown, confused: Mapping[tuple[str, str], Sequence[int]], part: str
) -> None:
    for number, ((label, answer), rows) in enumerate(confused.items(), start=1):
        if rows:
            sheets.add(
                f"pair-{number}",
                f"{label} taken for {answer}",
                f"What spoke for {answer}, and what for {label}; the surest of these mistakes.",
                [shown.answers(rows), shown.labels(rows)],
                [f"for {answer}", f"for {label}"],
            )
        else:
            sheets.notes.append(f"No image of {label} in the {part} part was taken for {answer}.")


def _add_features(sheets: _Sheets, shown: _Shown, examples: Mapping[str, int], explainer: Explainer) -> None:
    """
    Args:
        examples: a row for each line, by what stands beside it.
    """
    for number, layer in enumerate(explainer.layers(), start=1):
        channels = explainer.feature_maps(list(examples.values()), layer.name)
        sheets.add(
            f"features-{number}",
            f"Feature maps of {layer.name}",
            f"{layer.channels} channels of {layer.edge}×{layer.edge}; those {len(channels[0])} that differ most.",
            [
                [shown.images[row], *map(figures.heat, maps)]
                for row, maps in zip(examples.values(), channels, strict=True)
            ],
            list(examples),
        )
