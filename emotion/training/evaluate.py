"""From a trained network to a prediction table, on one device and in 32-bit floats."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from emotion.models.classifier import Batch, ExpressionClassifier


@torch.inference_mode()
def predict(
    classifier: ExpressionClassifier,
    batches: Iterable[Batch],
    device: torch.device,
    seen: Callable[[int], None] = lambda count: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of every image, each once.

    Args:
        seen: called with the number of images so far.

    Returns:
        Store rows (N,) int64 in the order of the batches, and probabilities (N, K) float32.
    """
    classifier.to(device).eval()
    rows, found, count = [], [], 0
    for batch in batches:
        rows.append(batch["index"].numpy())
        found.append(classifier.probabilities(batch["image"].to(device)).cpu().numpy())
        count += len(batch["index"])
        seen(count)
    return np.concatenate(rows), np.concatenate(found)


def cost(classifier: ExpressionClassifier, channels: int, size_px: int) -> dict[str, int]:
    """Parameters, trainable parameters, and multiply-adds for one image (as torch counts floating-point operations)."""
    from torch.utils.flop_counter import FlopCounterMode

    network = classifier.network
    device = next(network.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        classifier.eval()(torch.zeros(1, size_px, size_px, channels, dtype=torch.uint8, device=device))
    weights = list(network.parameters())
    return {
        "parameters": sum(p.numel() for p in weights),
        "trainable": sum(p.numel() for p in weights if p.requires_grad),
        "macs": counter.get_total_flops() // 2,
    }
