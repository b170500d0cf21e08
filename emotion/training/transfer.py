"""Starting from another run's best weights: `model.init_from`."""

from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from emotion.data.splits import Split
from emotion.data.store import Store
from emotion.errors import RunError
from emotion.evaluation import predictions as tables
from emotion.models.network import Network, misfit
from emotion.runs import RunFolder
from emotion.training import checkpoint
from emotion.training.folder import source_weights


def source(path: Path) -> dict[str, Any]:
    """What the `best.ckpt` of the run in `path` holds.

    Raises:
        RunError: the run or its weights are gone.
    """
    return checkpoint.load_weights(source_weights(path))


def start_from(network: Network, classes: tuple[str, ...], contents: dict[str, Any]) -> str:
    """Load the weights of another run, and say what of them was used.

    The head is used where it is of the same form: as a whole where the classes are the same in the same order, else its
    hidden layers, and of its last layer the rows of the classes that both runs have.

    Args:
        classes: of the new run, in order.
        contents: from `source`.

    Raises:
        RunError: it is another network.
    """
    state: dict[str, Tensor] = contents["state_dict"]
    backbone = {k.removeprefix("backbone."): t for k, t in state.items() if k.startswith("backbone.")}
    wrong = misfit(network.backbone.state_dict(), backbone)
    if wrong:
        raise RunError(
            f"model.init_from: expected a run of {_told(network.description)}, found one of "
            f"{_told(contents['network'])}: tensors {wrong}. Set model, model.args and model.input_size as in that run."
        )
    network.backbone.load_state_dict(backbone)
    return _start_head(network, classes, contents)


def _told(description: dict[str, Any]) -> str:
    """A network as a person would name it."""
    arguments = "".join(f", {key} {value}" for key, value in description["args"].items())
    return f"{description['name']} ({description['size_px']} px{arguments})"


def _start_head(network: Network, classes: tuple[str, ...], contents: dict[str, Any]) -> str:
    theirs = tuple(contents["classes"])
    saved = {k.removeprefix("head."): t for k, t in contents["state_dict"].items() if k.startswith("head.")}
    ours = network.head.state_dict()
    if theirs == classes and not misfit(ours, saved):
        network.head.load_state_dict(saved)
        return "backbone and head"
    last = max((int(k.partition(".")[0]) for k in ours if k.partition(".")[0].isdigit()), default=-1)
    rows = [(classes.index(name), theirs.index(name)) for name in theirs if name in classes]
    merged = {}
    for key, tensor in ours.items():
        if key not in saved or saved[key].shape[1:] != tensor.shape[1:]:
            return "backbone, with a new head"
        if key.startswith(f"{last}."):
            merged[key] = tensor.clone()
            for new, old in rows:
                merged[key][new] = saved[key][old]
        elif saved[key].shape == tensor.shape:
            merged[key] = saved[key]
        else:
            return "backbone, with a new head"
    if not rows or ours.keys() != saved.keys():
        return "backbone, with a new head"
    network.head.load_state_dict(merged)
    return f"backbone, and the head for {len(rows)} of {len(classes)} classes"


def refuse_seen_images(path: Path, split: Split, store: Store) -> None:
    """Weights that were trained on this run's validation or test images can't be judged by them.

    A run on the same data set must have kept aside what this run validates and tests on. Its prediction tables say what
    it kept aside.

    Raises:
        RunError: it may have trained on some of them.
    """
    run = RunFolder.open(path)
    earlier = run.config["model"].get("init_from")
    if earlier:  # a chain of runs: what the first one saw is in the weights too
        first = Path(earlier)
        if not first.is_dir():
            # both were moved together, or the path was typed in another folder
            first = run.path.resolve().parent / first.name
        if not first.is_dir():
            raise RunError(
                f"model.init_from: {path.name} started from {earlier}, which is gone, so that nobody can say whether "
                "its weights have seen the images that would judge this run. Put that folder back, or start from "
                "another run."
            )
        refuse_seen_images(first, split, store)
    if (
        run.splits["data"]["name"] != store.name
        or run.splits["hash"]["train"] == split.manifest["hash"]["train"]
    ):
        return
    kept_aside: list[pl.Series] = []
    for part in ("val", "test"):
        if run.splits["hash"][part] == split.manifest["hash"][part]:
            kept_aside.append(store.frame["id"].gather(split.part(part)))
        elif run.has(part):
            kept_aside.append(pl.Series(tables.read(run.predictions(part)).ids))
    judged = pl.concat([store.frame["id"].gather(split.part(part)) for part in ("val", "test")])
    seen = judged.filter(~judged.is_in(pl.concat(kept_aside).implode())) if kept_aside else judged
    if len(seen):
        raise RunError(
            f"model.init_from: expected a run that kept aside the {len(judged):,} images which this run validates and "
            f"tests on, found {len(seen):,} of them among its training images (the first: {seen[0]}), so their scores "
            "would be too good. Use a run with the same fold, folds, data.split_seed, val_fraction and test_fraction."
        )
