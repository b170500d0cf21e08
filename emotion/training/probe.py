"""A classical classifier on a finished run's features: linear SVM or logistic regression, from scikit-learn."""

import time
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from emotion.data.store import Store
from emotion.evaluation.predictions import Meta, from_arrays
from emotion.predictor import Predictor
from emotion.runs import RunFolder, TableName
from emotion.schema import validate
from emotion.training.derived import write_derived
from emotion.training.own_data import as_trained

Head = Literal["svm", "logistic"]
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
ITERATIONS = 1000
BATCH = 256


def write_probe(run: RunFolder, head: Head, target: Path, command: str) -> RunFolder:
    """Fit `head` on the training part's features of a run, and write its predictions as a run folder.

    The inverse strength of the penalty is the one of `STRENGTHS` with the best validation accuracy. The SVM has no
    probabilities: its table holds the softmax of its margins, whose largest one is the SVM's answer and whose sizes
    mean nothing.

    Raises:
        RunError: the run has no weights, or `target` is there already.
        DataError: the data is not there, or not what the run was trained on, or would be divided otherwise.
    """
    config = validate(run.config)
    predictor = Predictor.from_run(run.path)
    store, split = as_trained(run)
    started = time.perf_counter()
    parts: tuple[TableName, ...] = ("val", "test")
    rows = {part: split.part(part) for part in ("train", *parts)}
    features = {part: features_of(predictor, store, where) for part, where in rows.items()}
    labels = {part: store.labels[where] for part, where in rows.items()}
    fitted = [fit(head, features["train"], labels["train"], c, config.seed) for c in STRENGTHS]
    scores = [float((model.predict(features["val"]) == labels["val"]).mean()) for model in fitted]
    best = int(np.argmax(scores))
    tables = {}
    for part in parts:
        frame = store.frame[rows[part]]
        tables[part] = from_arrays(
            frame["id"].to_list(),
            labels[part],
            probabilities(fitted[best], features[part], len(store.classes)),
            store.classes,
            Meta(config.data.shown_name, "val" if part == "val" else "test", target.name, part == "val"),
            groups=frame["group"].to_list(),
            fold=config.fold,
        )
    count = features["train"].shape[1]
    weights = (count + 1) * len(store.classes)
    return write_derived(
        [run],
        target,
        tables,
        kind=head,
        title=f"{head} on {run.name}",
        note=f"{head} on {count:,} features of {run.name}; C = {STRENGTHS[best]:g}, chosen by validation accuracy."
        + (" Its probabilities are a softmax of margins." if head == "svm" else ""),
        cost={
            "parameters": weights,
            "trainable": weights,
            "train_s": round(time.perf_counter() - started, 1),
        },
        command=command,
    )


@torch.inference_mode()
def features_of(predictor: Predictor, store: Store, rows: np.ndarray) -> np.ndarray:
    """What the backbone gives to the head: (N, F) float32."""
    found = []
    for start in range(0, len(rows), BATCH):
        pixels = torch.from_numpy(np.array(store.images[rows[start : start + BATCH]]))
        found.append(predictor.network.backbone(predictor.device_module(pixels)).flatten(1).float().numpy())
    return np.concatenate(found)


def fit(head: Head, features: np.ndarray, labels: np.ndarray, strength: float, seed: int) -> Any:
    """A fitted scikit-learn pipeline: standardised features (N, F), then the classifier."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    if head == "svm":
        model = LinearSVC(C=strength, dual="auto", max_iter=ITERATIONS, random_state=seed)
    else:
        model = LogisticRegression(C=strength, max_iter=ITERATIONS)
    with warnings.catch_warnings():
        # validation chooses among the strengths, and so among those that were not fitted to the last digit
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), model).fit(features, labels)


def probabilities(model: Any, features: np.ndarray, classes: int) -> np.ndarray:
    """(N, K); 0 for a class that the training part didn't have."""
    if hasattr(model, "predict_proba"):
        given = model.predict_proba(features)
    else:
        margins = model.decision_function(features)
        margins = np.stack([-margins, margins], 1) if margins.ndim == 1 else margins
        shifted = np.exp(margins - margins.max(axis=1, keepdims=True))
        given = shifted / shifted.sum(axis=1, keepdims=True)
    found = np.zeros((len(features), classes))
    found[:, model.classes_] = given
    return found
