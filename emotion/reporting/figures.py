"""The pictures in a run's `figures/`: PNG files for slides, papers and a quick look without a browser.

Pure functions from arrays to a file. matplotlib is imported when the first one is called, and without pyplot:
nothing global is touched, so they may be called from a training process. Colours are those of Okabe and Ito
(2008), which people with the common colour deficiencies tell apart, and no figure relies on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from emotion.atomic import replacing
from emotion.errors import EmotionError
from emotion.evaluation import calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1d232b", "#667080", "#e3e7ec"
BLUE, VERMILION, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#a9b2bd"
PART_COLOURS = {"train": GREY, "val": BLUE, "test": VERMILION}
PART_NAMES = {"train": "training", "val": "validation", "test": "test"}
DPI = 144
FACE_PX = 96


def learning_curves(history: pl.DataFrame, path: Path, best_epoch: int | None = None) -> Path:
    """Loss and scores over the epochs, the epoch whose weights were kept marked.

    Args:
        history: a run's `metrics.csv`: `epoch` (from 0; shown from 1) and any of `train/loss`, `val/loss`,
            `train/accuracy`, …; a column or value that is missing leaves a gap, not an error.
        best_epoch: from 0, as in the history.
    """
    figure, (left, right) = _canvas(9.0, 3.4, columns=2)
    panels = (
        (left, "Loss", (("train/loss", GREY), ("val/loss", BLUE))),
        (
            right,
            "Score",
            (
                ("train/accuracy", GREY),
                ("val/accuracy", BLUE),
                ("val/balanced_accuracy", VERMILION),
                ("val/f1_macro", GREEN),
            ),
        ),
    )
    for axes, title, columns in panels:
        _heading(axes, title)
        axes.set_xlabel("epoch", color=MUTED)
        for column, colour in columns:
            if column not in history.columns:
                continue
            points = history.select("epoch", column).drop_nulls().cast(pl.Float64)
            axes.plot(
                points["epoch"].to_numpy() + 1,
                points[column].to_numpy(),
                color=colour,
                linewidth=1.8,
                linestyle="--" if column.startswith("train/") else "-",
                marker="o" if points.height < 3 else None,
                markersize=4,
                label=column.replace("train/", "training ").replace("val/", "validation ").replace("_", " "),
            )
        if best_epoch is not None:
            axes.axvline(best_epoch + 1, color=INK, linewidth=0.8, linestyle=":", zorder=0)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK)
        axes.locator_params(axis="x", integer=True)
    right.yaxis.set_major_formatter(_percent)
    return _save(figure, path)


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], path: Path) -> Path:
    """Counts, and the same as shares of each true class, beside one another.

    Args:
        counts: (K, K) int; rows are the true classes, columns the predicted ones.
    """
    counts = np.asarray(counts)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    size = max(3.2, 0.52 * len(classes))
    figure, both = _canvas(2 * size + 1.6, size + 0.9, columns=2)
    for axes, title, text in (
        (both[0], "Images", lambda row, column: f"{counts[row, column]:,}"),
        (both[1], "Share of the true class", lambda row, column: f"{100 * shares[row, column]:.0f}"),
    ):
        _heading(axes, title + ("" if title == "Images" else ", %"))
        axes.grid(False)
        axes.imshow(shares, cmap=_blues(), vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("predicted", color=MUTED)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for row in range(len(classes)):
            for column in range(len(classes)):
                if counts[row, column]:
                    colour = "white" if shares[row, column] > 0.5 else INK
                    weight = "bold" if row == column else "normal"
                    label = text(row, column)
                    axes.text(
                        column,
                        row,
                        label,
                        ha="center",
                        va="center",
                        fontsize=8,
                        color=colour,
                        fontweight=weight,
                    )
    both[0].set_ylabel("true", color=MUTED)
    return _save(figure, path)


def class_distribution(counts: Mapping[str, Sequence[int]], classes: Sequence[str], path: Path) -> Path:
    """How many images of each class every part holds.

    Args:
        counts: part ("train", "val", "test") → K counts in the order of `classes`.
    """
    figure, (axes,) = _canvas(7.2, max(2.4, 0.30 * len(classes) * max(1, len(counts)) + 1.0))
    _heading(axes, "Images in each class")
    height = 0.8 / max(1, len(counts))
    rows = np.arange(len(classes))
    for position, (part, values) in enumerate(counts.items()):
        total = max(1, sum(values))
        bars = axes.barh(
            rows + (position - (len(counts) - 1) / 2) * height,
            values,
            height=0.9 * height,
            color=PART_COLOURS.get(part, GREEN),
            label=f"{PART_NAMES.get(part, part)} ({sum(values):,})",
        )
        texts = [f" {value:,}  ({100 * value / total:.0f} %)" for value in values]
        axes.bar_label(bars, texts, fontsize=7.5, color=MUTED)
    axes.set_yticks(rows, classes)
    axes.invert_yaxis()
    axes.margins(x=0.16)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    if counts:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="best")
    return _save(figure, path)


def reliability(labels: np.ndarray, probabilities: np.ndarray, path: Path, bins: int = 15) -> Path:
    """Confidence against accuracy, with the number of images in each bin below.

    Args:
        labels: (N,) int. probabilities: (N, K) float, rows sum to 1.
    """
    table = calibration.reliability(labels, probabilities, bins=bins)
    figure, (top, bottom) = _canvas(4.6, 5.0, rows=2, height_ratios=(4, 1))
    _heading(top, "Does its confidence mean what it says?")
    top.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="perfectly calibrated")
    filled = table.filter(pl.col("count") > 0)
    confidence, accuracy = filled["confidence"].to_numpy(), filled["accuracy"].to_numpy()
    top.vlines(confidence, confidence, accuracy, color=VERMILION, linewidth=1.6, alpha=0.7, label="gap")
    top.plot(confidence, accuracy, color=BLUE, marker="o", markersize=4, linewidth=1.6, label="this network")
    top.set_ylabel("accuracy", color=MUTED)
    top.set_ylim(0, 1)
    top.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    edges = table["low"].to_numpy()
    bottom.bar(edges, table["count"].to_numpy(), width=1 / bins * 0.92, align="edge", color=GREY)
    bottom.set_ylabel("images", color=MUTED)
    bottom.set_xlabel("confidence", color=MUTED)
    for axes in (top, bottom):
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(_percent)
    top.yaxis.set_major_formatter(_percent)
    return _save(figure, path)


def augmentation_grid(images: np.ndarray, path: Path, labels: Sequence[str] = ()) -> Path:
    """Training images as they are (first column) and as the network sees them.

    Args:
        images: (R, D, H, W) or (R, D, H, W, C) uint8: R images, each drawn D times, the first one untouched.
        labels: the class of each row, where it should be written beside it.
    """
    images = np.asarray(images)
    if images.ndim == 4:
        images = images[..., None]
    rows, draws, height, width = images.shape[:4]
    gap = max(2, width // 16)
    aside = 4 * gap  # sets the untouched image apart
    channels = np.broadcast_to(images, (*images.shape[:4], 3))
    canvas = np.full(
        (rows * (height + gap) - gap, draws * (width + gap) - gap + (aside if draws > 1 else 0), 3),
        255,
        "uint8",
    )
    for row in range(rows):
        for draw in range(draws):
            top, left = row * (height + gap), draw * (width + gap) + (aside if draw else 0)
            canvas[top : top + height, left : left + width] = channels[row, draw]
    margin = 0.9 if labels else 0.1
    inches = 7.0 / canvas.shape[1]
    figure, (axes,) = _canvas(7.0 + margin, canvas.shape[0] * inches + 0.4)
    axes.imshow(canvas, interpolation="nearest")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks([row * (height + gap) + height / 2 for row in range(len(labels))], labels)
    first, others = width / 2, (width + gap) + aside + ((draws - 1) * (width + gap) - gap) / 2
    axes.set_xticks(
        [first, others][: min(2, draws)],
        ["as stored", "as the network sees it, one draw after another"][: min(2, draws)],
    )
    axes.xaxis.tick_top()
    return _save(figure, path)


def mistakes(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    predictions: Sequence[str],
    confidences: Sequence[float],
    path: Path,
    columns: int = 6,
) -> Path:
    """A gallery of wrong answers: what the label says, what the network said, and how sure it was.

    Args:
        images: (H, W) or (H, W, 3) uint8 each. confidences: probability of the predicted class, in [0, 1].
    """
    if not images:
        figure, (axes,) = _canvas(5.0, 1.2)
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no mistakes", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        return _save(figure, path)
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    across, down = FACE_PX + 12, FACE_PX + 44  # with room for a line of text above and one below
    canvas = np.full((rows * down, columns * across - 12, 3), 255, np.uint8)
    figure, (axes,) = _canvas(canvas.shape[1] / 72, canvas.shape[0] / 72)
    axes.set_axis_off()
    for number, (image, label, prediction, confidence) in enumerate(
        zip(images, labels, predictions, confidences, strict=True)
    ):
        top, left = number // columns * down + 20, number % columns * across
        canvas[top : top + FACE_PX, left : left + FACE_PX] = _square(image)
        axes.text(left, top - 5, label, fontsize=8, color=INK, va="baseline")
        said = f"→ {prediction} {100 * confidence:.0f} %"
        below = top + FACE_PX + 13
        axes.text(left, below, said, fontsize=8, color=VERMILION, fontweight="bold", va="baseline")
    axes.imshow(canvas, interpolation="nearest", aspect="equal")
    return _save(figure, path)


def data_statistics(
    labels: Mapping[str, np.ndarray],
    classes: Sequence[str],
    groups: np.ndarray,
    brightness: np.ndarray,
    sizes: np.ndarray,
    path: Path,
) -> Path:
    """Classes of each part, images a group, brightness and original sizes.

    Args:
        labels: part → labels of its images.
        groups: images in each group; empty where there are none.
        brightness: (N,) mean grey level, 0 to 255.
        sizes: (M, 2) width and height in pixels.
    """
    figure, (parts, group, bright, size) = _canvas(9.0, 6.0, rows=2, columns=2)
    _heading(parts, "Share of each class")
    height = 0.8 / max(1, len(labels))
    for position, (part, values) in enumerate(labels.items()):
        shares = np.bincount(values, minlength=len(classes)) / max(1, len(values))
        places = np.arange(len(classes)) + (position - (len(labels) - 1) / 2) * height
        name = f"{PART_NAMES.get(part, part)} ({len(values):,})"
        parts.barh(places, shares, height, color=PART_COLOURS.get(part, BLUE), label=name)
    parts.set_yticks(range(len(classes)), classes)
    parts.invert_yaxis()
    parts.grid(False, axis="y")
    parts.xaxis.set_major_formatter(_percent)
    parts.legend(frameon=False, fontsize=8, labelcolor=INK)
    _heading(group, "Images in each group (person, source)")
    if len(groups):
        edges = 2.0 ** np.arange(int(groups.max()).bit_length() + 1)
        group.hist(groups, bins=edges.tolist(), color=BLUE, edgecolor="white")
        group.set_xscale("log", base=2)
        group.xaxis.set_major_formatter("{x:g}")
        group.set_yscale("log")
        group.set_ylabel("groups", color=MUTED)
    else:
        group.set_axis_off()
        group.text(0.5, 0.5, "no groups are known", ha="center", color=MUTED, transform=group.transAxes)
    _heading(bright, "Brightness (mean grey level)")
    bright.hist(brightness, bins=np.linspace(0, 255, 52).tolist(), color=BLUE)
    bright.set_ylabel("images", color=MUTED)
    _heading(size, "Size before preparation, pixels")
    size.scatter(sizes[:, 0], sizes[:, 1], s=9, color=BLUE, alpha=0.5, linewidths=0)
    size.set_xlabel("width", color=MUTED)
    size.set_ylabel("height", color=MUTED)
    return _save(figure, path)


def heat(values: np.ndarray) -> np.ndarray:
    """(H, W) of any scale as colours (H, W, 3) uint8, dark for the smallest and light for the largest."""
    from matplotlib import colormaps

    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.asarray(255 * colormaps["inferno"](scaled)[..., :3]).astype(np.uint8)


def overlay(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """A map over a greyed image: (H, W, 3) uint8.

    Args:
        image: (H, W) or (H, W, C) uint8. saliency: (S, S) float in [0, 1], resized to the image.
    """
    from matplotlib import colormaps
    from PIL import Image

    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    grey = np.asarray(Image.fromarray(pixels).convert("L"), float)[..., None]
    resized = Image.fromarray(saliency.astype(np.float32)).resize(
        grey.shape[1::-1], Image.Resampling.BILINEAR
    )
    values = np.clip(np.asarray(resized), 0, 1)
    strength = (0.7 * values**0.8)[..., None]
    colours = 255 * colormaps["inferno"](0.25 + 0.65 * values)[..., :3]
    return np.asarray((1 - strength) * grey + strength * colours).astype(np.uint8)


def sheet(rows: Sequence[Sequence[np.ndarray]], path: Path, labels: Sequence[str] = ()) -> Path:
    """Pictures in rows, as they are.

    Args:
        rows: uint8 (H, W), (H, W, 1) or (H, W, 3) of any size.
        labels: what stands beside each row.
    """
    gap = 6
    across = max(len(row) for row in rows) * (FACE_PX + gap) - gap
    canvas = np.full((len(rows) * (FACE_PX + gap) - gap, across, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        for place, image in enumerate(row):
            top, left = number * (FACE_PX + gap), place * (FACE_PX + gap)
            canvas[top : top + FACE_PX, left : left + FACE_PX] = _square(image)
    beside = 0.3 + 0.075 * max(map(len, labels), default=0)  # inches that the longest label takes
    figure, (axes,) = _canvas(across / DPI + beside, canvas.shape[0] / DPI + 0.2)
    axes.imshow(canvas, interpolation="nearest")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_yticks([n * (FACE_PX + gap) + FACE_PX / 2 for n in range(len(labels))], labels)
    return _save(figure, path)


def _square(image: np.ndarray) -> np.ndarray:
    """(FACE_PX, FACE_PX, 3) of an image of any size and number of channels."""
    from PIL import Image

    pixels = np.asarray(image)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return np.asarray(
        Image.fromarray(pixels).convert("RGB").resize((FACE_PX, FACE_PX), Image.Resampling.BICUBIC)
    )


def _canvas(
    width_in: float,
    height_in: float,
    rows: int = 1,
    columns: int = 1,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(width_in, height_in),
        dpi=DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=height_ratios)
    for axes in grid.flat:
        axes.set_axisbelow(True)
        axes.grid(True, color=GRID, linewidth=0.8)
        axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=8, length=3)
        axes.xaxis.label.set_fontsize(8.5)
        axes.yaxis.label.set_fontsize(8.5)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(GREY)
    return figure, list(grid.flat)


def _heading(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, fontweight="bold", color=INK, pad=8)


def _percent(value: float, _position: float) -> str:
    return f"{100 * value:.0f} %"


def _blues() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blues", ["#ffffff", "#c9dff0", "#5a9fd0", "#0072b2", "#00436b"])


def _save(figure: Figure, path: Path) -> Path:
    try:
        with replacing(path) as part:
            figure.savefig(part, format="png")
    except OSError as error:
        raise EmotionError(
            f"expected to write the figure {path}, found {error.strerror or error}; give a folder that can be "
            "written and has room."
        ) from error
    return path
