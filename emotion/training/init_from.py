"""Starting from another run's best weights: `model.init_from`."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from emotion.data.splits import Split
from emotion.data.store import Store
from emotion.errors import RunError
from emotion.evaluation import predictions as tables
from emotion.models.network import Network, misfit
from emotion.runs import SCORED, RunFolder
from emotion.training import checkpoint
from emotion.training.folder import source_weights
from emotion.training.own_data import at_hand, pictures_of, same_pictures


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


def ancestors(run: RunFolder) -> list[RunFolder]:
    """The run, the one that it started from, and so on: what each of them saw is in the run's weights.

    Raises:
        RunError: one of them is gone.
    """
    chain, gone = known_ancestors(run)
    if gone is not None:
        raise RunError(
            f"model.init_from: {chain[-1].name} started from {gone}, which is gone or no run, so that nobody can say "
            "which images its weights have seen. Put that folder back, or start from another run."
        )
    return chain


def known_ancestors(run: RunFolder) -> tuple[list[RunFolder], Path | None]:
    """As `ancestors`, as far as they are there, and the first that is gone or can't be read."""
    chain = [run]
    while earlier := chain[-1].config["model"].get("init_from"):
        path = Path(earlier)
        if not path.is_dir():
            # both were moved together, or the path was typed in another folder
            path = chain[-1].path.resolve().parent / path.name
        source = RunFolder(path.resolve())
        try:
            known = source.path not in {one.path.resolve() for one in chain} and source.config
        except RunError:
            known = None
        if not known:
            return chain, Path(earlier)
        chain.append(source)
    return chain, None


def refuse_seen_images(path: Path, split: Split, store: Store) -> None:
    """Weights that were trained on this run's validation or test images can't be judged by them.

    Where the earlier run's prepared data is still there in the same form, the pixels are compared, whatever the two
    data sets are called. Else a run on the same data set must have kept aside what this run validates and tests on;
    its prediction tables say what it kept aside.

    Raises:
        RunError: it may have trained on some of them.
    """
    for run in ancestors(RunFolder.open(path)):
        _refuse_seen_by(run, split, store)


def _refuse_seen_by(run: RunFolder, split: Split, store: Store) -> None:
    # with another fingerprint the same ids may be other pictures
    same_data = run.splits["data"].get("fingerprint") == store.fingerprint
    if same_data and run.splits["hash"]["train"] == split.manifest["hash"]["train"]:
        return
    judged = _held_out(store, split)
    prepared = at_hand(run)
    same = same_pictures(run, store)
    if prepared is not None and prepared[0].preparation == store.preparation:
        seen = _trained_on(judged, store, *prepared, by_id=same)
    else:
        seen = _not_kept_aside(judged, run, split, store)
    if seen is None and same:
        raise RunError(
            f"model.init_from: {run.name} was trained on {run.splits['data']['name']} in another form, whose images "
            "nobody can tell from this one's by pixels or names, so that its scores might be too good. Use a run on "
            "the same files."
        )
    if seen is not None and len(seen):
        raise RunError(
            f"model.init_from: expected a run that kept aside the {len(judged):,} images which this run validates and "
            f"tests on, found {len(seen):,} of them among its training images (the first: {seen[0]}), so their scores "
            "would be too good. Use a run with the same fold, folds, data.split_seed, val_fraction and test_fraction, "
            "or leave these images out (data.exclude)."
        )


def _held_out(store: Store, split: Split) -> pl.DataFrame:
    """The rows of the store's frame that aren't trained on but selected by or scored."""
    return store.frame[np.concatenate([split.part(name) for name in split.names if name != "train"])]


def _trained_on(
    judged: pl.DataFrame, store: Store, theirs: Store, parts: Split, by_id: bool
) -> pl.Series | None:
    """The ids of those rows of `store` whose picture another run trained on; None where the two share nothing.

    One that it kept aside as well has twins in the parts of a published split, which reports tell of anyway.
    """
    trained, aside = theirs.frame[parts.train], _held_out(theirs, parts)
    digest = pl.col("digest")
    seen = digest.is_in(trained["digest"].implode()) & ~digest.is_in(aside["digest"].implode())
    if by_id:
        seen |= pl.col("id").is_in(trained["id"].implode())
    one, other = (each.frame.select("id", "digest") for each in (store, theirs))
    if not any(one[key].is_in(other[key].implode()).any() for key in one.columns):
        return None
    return judged.filter(seen)["id"]


def _not_kept_aside(judged: pl.DataFrame, run: RunFolder, split: Split, store: Store) -> pl.Series | None:
    """The ids of those rows of `store` that another run on the same data set may have trained on.

    None where the two share nothing.
    """
    ids, nothing = store.frame["id"], judged["id"].clear()
    if pictures_of(run.splits["data"]["name"]) != pictures_of(store.name):
        return nothing
    theirs, ours = run.splits["hash"], split.manifest["hash"]
    kept_aside = [nothing]
    for part in SCORED:
        if part in ours and ours[part] == theirs.get(part):
            kept_aside.append(ids.gather(split.part(part)))
        elif run.has(part):
            kept_aside.append(pl.Series(tables.read(run.predictions(part)).ids))
    known = pl.concat(kept_aside)
    if len(known) and not ids.is_in(known.implode()).any():
        return None
    return judged["id"].filter(~judged["id"].is_in(known.implode()))
