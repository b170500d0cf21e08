"""What `emotion data list|check|prepare|show|stats|audit` do."""

import difflib
import itertools
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emotion import atomic, registry
from emotion.data.audit import audit as look
from emotion.data.audit import grey_levels, label_findings
from emotion.data.dataset import default_cache_dir, open_store, preparation_of, prepared_store, read_table
from emotion.data.recognise import data_sets, needs_root, recognise
from emotion.data.store import Store
from emotion.data.table import SPLITS
from emotion.errors import ConfigError, DataError
from emotion.evaluation import folds, label_errors, predictions
from emotion.evaluation.predictions import Predictions
from emotion.launch import compose
from emotion.reporting import audit_page, set_card
from emotion.reporting.figures import data_statistics, sheet
from emotion.reporting.tables import Cell, Column, Table, text
from emotion.runs import RunFolder
from emotion.schema import RunConfig
from emotion.schema.data import DataConfig
from emotion.training.own_data import same_pictures
from emotion.training.progress import preparing

_OVERRIDE = re.compile(r"[+~]{0,2}[\w.]+=")
_SECTIONS = ("data", "preprocess", "machine")
_SIZED = 300


def described(where: Sequence[str], sections: Sequence[str] = _SECTIONS, why: str = "") -> RunConfig:
    """The configuration of `[ROOT] [KEY=VALUE…]`; the data set is recognised where it isn't named.

    Args:
        sections: whose keys can be typed.
        why: no others can, as a sentence.

    Raises:
        ConfigError: a key of another section, or a configuration with problems.
        DataError: nothing is recognised in ROOT.
    """
    overrides = [word for word in where if _OVERRIDE.match(word)]
    roots = [word for word in where if word not in overrides]
    if len(roots) > 1:
        raise ConfigError(f"expected one folder, found {', '.join(roots)}. Quote a name with spaces.")
    only_about_data(overrides, sections, why)
    if roots:
        root = Path(roots[0]).expanduser()
        if not any(word.startswith("data=") for word in overrides):
            overrides.insert(0, f"data={recognise(root)}")
        overrides.append(f"data.root={root}")
    elif not any(word.startswith("data=") for word in overrides):
        raise ConfigError(
            "expected a folder, or data=NAME; found neither. `emotion data list` shows the names."
        )
    return compose(overrides)


def only_about_data(overrides: Sequence[str], sections: Sequence[str] = _SECTIONS, why: str = "") -> None:
    """
    Args, Raises: as `described`.
    """
    for word in overrides:
        if word.lstrip("+~").partition("=")[0].partition(".")[0] not in sections:
            raise ConfigError(f"expected keys of {', '.join(sections)}, found {word!r}. {why}".rstrip())


def list_sets() -> None:
    """Every registered set with what its reader says of itself, then the prepared stores."""
    rows = []
    for name in data_sets():
        doc = (registry.builder("data", name).__doc__ or "").strip().splitlines()
        rows.append(
            (Cell(name), Cell("data.root" if needs_root(name) else "nothing"), Cell(doc[0] if doc else ""))
        )
    columns = tuple(Column(title, number=False) for title in ("data=", "needs", "what it is"))
    print(text(Table("Data sets", columns, tuple(rows))))
    stores = []
    for path in sorted(default_cache_dir().glob("*/manifest.json")):
        try:
            store = Store.open(path.parent)
        except DataError:
            continue
        size = sum(store.manifest["files"].values()) / 2**20
        made = store.manifest["created"]
        stores.append((Cell(path.parent.name), Cell(f"{len(store):,}"), Cell(f"{size:,.0f}"), Cell(made)))
    if stores:
        columns = (
            Column("store", number=False),
            Column("images"),
            Column("MiB"),
            Column("made", number=False),
        )
        print(text(Table(f"Prepared in {default_cache_dir()}", columns, tuple(stores))))


def card(name: str | None, out: Path | None) -> None:
    """
    Raises:
        DataError: there is no such data set.
    """
    known = data_sets()
    if name is not None and name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise DataError(f"expected one of {', '.join(known)}, found {name!r}{hint}")
    for each in known if name is None else [name]:
        page = _card(each, known[each])
        if page and out is None:
            print(page, end="")
        elif page and out is not None:
            atomic.write_text(out / f"{each}.md", page)


def _card(name: str, schema: type[DataConfig]) -> str | None:
    """The card of a data set; None for a plug-in's that states no facts."""
    reader: Any = registry.builder("data", name)
    if not hasattr(reader, "FACTS"):
        return None
    own = {key: field for key, field in schema.model_fields.items() if key not in DataConfig.model_fields}
    options = {key: field.description or "" for key, field in own.items()}
    return set_card.markdown(name, reader.FACTS, options)


def check(where: Sequence[str], out: Path | None) -> None:
    """
    Args:
        out: csv file for the rows that can't be used.

    Raises:
        DataError: not recognised, unusable, or the prepared store was changed.
    """
    config = described(where)
    table = read_table(config.data, preparation_of(config.data, config.preprocess))
    print(f"{table.name}: {len(table):,} rows can be used, {table.rejected.height:,} can't.")
    print(text(_classes(table.frame, table.classes)))
    reasons = table.rejected.group_by("reason", maintain_order=True).agg(
        pl.len(), pl.col("id", "detail").first()
    )
    for reason, count, sample, detail in reasons.iter_rows():
        print(f"  {count:,} {reason}; the first: {sample}: {detail}")
    for note in table.notes:
        print(f"  {note}")
    if out is not None:
        atomic.write_text(out, table.rejected.write_csv())
        print(f"{out}: the rows that can't be used")
    elif table.rejected.height:
        print("  --out FILE lists all that can't be used")
    store = prepared_store(config.data, config.preprocess, config.machine.cache_dir)
    if store is None:
        print("Not prepared yet: whether every image can be decoded is seen by `emotion data prepare`.")
        return
    store.verify()
    unreadable = store.rejected.height - table.rejected.height
    print(f"Prepared and unchanged: {len(store):,} images, {unreadable:,} could not be decoded. {store.path}")


def prepare(where: Sequence[str]) -> None:
    store = _opened(described(where))
    print(
        f"{len(store):,} images of {len(store.classes)} classes, fingerprint {store.fingerprint[:12]}: {store.path}"
    )


def show(where: Sequence[str], out: Path, count: int) -> None:
    store = _opened(described(where))
    rows = {}
    for label, name in enumerate(store.classes):
        inside = np.flatnonzero(store.labels == label)
        # evenly spaced in the order of ids, so that the first folder or person doesn't fill the row
        chosen = inside[np.unique(np.linspace(0, len(inside) - 1, min(count, len(inside))).astype(int))]
        rows[f"{name} ({len(inside):,})"] = np.asarray(store.images[chosen])
    print(sheet([list(images) for images in rows.values()], out, list(rows)))


def stats(where: Sequence[str], out: Path) -> None:
    config = described(where)
    store = _opened(config)
    frame = store.frame
    print(text(_classes(frame, store.classes)))
    groups = frame["group"].drop_nulls().value_counts()["count"].to_numpy()
    if len(groups):
        middle = np.median(groups)
        print(
            f"{len(groups):,} groups of {groups.min():,} to {groups.max():,} images, {middle:g} in the middle one"
        )
    brightness, contrast = grey_levels(store)
    for name, values in (("brightness", brightness), ("contrast", contrast)):
        low, middle, high = np.percentile(values, (5, 50, 95))
        print(f"{name}: {middle:.0f} in the middle, {low:.0f} to {high:.0f} in nine of ten images (0 to 255)")
    sizes = _original_sizes(config)
    smallest, largest = sizes.min(axis=0), sizes.max(axis=0)
    middle = np.median(sizes, axis=0)
    print(
        f"originals: {middle[0]:g} × {middle[1]:g} px in the middle, {smallest[0]} × {smallest[1]} to {largest[0]} × "
        f"{largest[1]} (of {len(sizes)}); stored at {store.size_px} px, {'grey' if store.channels == 1 else 'colour'}"
    )
    print(data_statistics(_part_labels(store), store.classes, groups, brightness, sizes, out))


def audit(where: Sequence[str], out: Path, runs: Sequence[Path]) -> None:
    store = _opened(described(where))
    suspects = None
    if runs:
        table = _unseen(runs, store)
        suspects = audit_page.Suspects(table, label_errors.find(table))
    found = look(store)
    findings = found.findings
    if suspects is not None:
        errors = suspects.errors
        ids = [suspects.table.ids[row] for row in errors.rows]
        names = [suspects.table.classes[k] for k in errors.suggested]
        findings = pl.concat([findings, label_findings(store, ids, names, errors.margins.tolist())])
    width = max(map(len, found.counts))
    for name, value in found.counts.items():
        print(f"  {name:<{width}} {value:>8,}")
    if suspects is not None:
        print(
            f"  {'likely label errors':<{width}} {len(suspects.errors.rows):>8,}"
            f"  (of {len(suspects.table):,}; about {suspects.errors.noise:.1%} of the labels)"
        )
    for warning in found.warnings:
        print(f"  {warning}")
    csv = out / "audit.csv"
    _keep_edited(csv, findings.write_csv())
    atomic.write_text(csv, findings.write_csv())
    proposed = findings.filter("exclude")["id"].n_unique()
    print(
        f"{csv}: {shlex.quote(f'data.exclude={csv}')} leaves out the {proposed:,} images that it marks"
        if proposed
        else f"{csv}: no image is proposed to be left out"
    )
    print(audit_page.write(found, out / "audit.html", suspects))


def _keep_edited(csv: Path, text: str) -> None:
    """An audit's file that says something else than `text` may hold a person's decisions: it gets another name."""
    try:
        if csv.read_text() == text:
            return
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        pass  # saved by another program
    free = (csv.with_stem(f"{csv.stem}-{number}") for number in itertools.count(1))
    kept = next(path for path in free if not path.exists())
    csv.rename(kept)
    print(f"{csv} was there with other content: it is {kept.name} now")


def _unseen(runs: Sequence[Path], store: Store) -> Predictions:
    """Predictions for images that the runs were not trained on: all folds, or one run's validation part.

    Raises:
        DataError: a run is of other pictures, or its labels are others.
    """
    folders = [RunFolder.open(run) for run in runs]
    tables = [predictions.read(folder.predictions("val"), store.classes) for folder in folders]
    table = tables[0] if len(tables) == 1 else folds.pool(tables, run=f"{len(tables)} folds")
    known = set(store.frame["id"])
    foreign = sum(sample not in known for sample in table.ids)
    if foreign:
        raise DataError(
            f"expected predictions for images of this data, found {foreign:,} of {len(table):,} ids in {runs[0]} that "
            "are not in it. Audit the data that the run was trained on, with the same data keys."
        )
    for folder in folders:
        same = folder.splits["data"]["fingerprint"] == store.fingerprint
        if not same and not same_pictures(folder, store):
            raise DataError(
                f"expected a run on the pictures that are audited, found {folder.path.name} on other ones, or on these "
                "prepared otherwise. Audit the data that the run was trained on, with the same keys of data and "
                "preprocess."
            )
    labels = dict(store.frame.select("id", "label").iter_rows())
    other = [
        name for name, label in zip(table.ids, table.labels.tolist(), strict=True) if labels[name] != label
    ]
    if other:
        raise DataError(
            f"expected predictions with the labels of this data, found {len(other):,} of {len(table):,} labelled "
            f"otherwise (the first: {other[0]}). Audit the labels that the run was trained with."
        )
    return table


def _opened(config: RunConfig) -> Store:
    return open_store(config.data, config.preprocess, config.machine.cache_dir, preparing(print), print)


def _original_sizes(config: RunConfig) -> np.ndarray:
    """(M, 2) width and height in pixels of images (or face boxes) as they are on disk: an even sample."""
    table = read_table(config.data, preparation_of(config.data, config.preprocess))
    rows = np.unique(np.linspace(0, len(table) - 1, _SIZED).astype(int))
    sizes: list[tuple[int, ...]] = []
    for row in rows.tolist():
        box = table.frame.row(row, named=True)
        if box.get("width") is not None:  # extra images have none
            sizes.append((int(box["width"]), int(box["height"])))
            continue
        with suppress(DataError):  # counted by `prepare`
            sizes.append(table.source.read(row).shape[1::-1])
    return np.array(sizes)


def _part_labels(store: Store) -> dict[str, np.ndarray]:
    split = store.frame["split"]
    parts = {name: store.labels[(split == name).fill_null(False).to_numpy()] for name in SPLITS}
    return {name: labels for name, labels in parts.items() if len(labels)} or {"all": store.labels}


def _classes(frame: pl.DataFrame, classes: Sequence[str]) -> Table:
    """Images of each class in each part."""
    parts = [name for name in SPLITS if (frame["split"] == name).any()]
    counts = {part: frame.filter(pl.col("split") == part)["label"].value_counts() for part in parts} | {
        "all": frame["label"].value_counts()
    }
    numbers = {part: dict(found.iter_rows()) for part, found in counts.items()}
    rows = [
        (Cell(name), *(Cell(f"{found.get(label, 0):,}") for found in numbers.values()))
        for label, name in enumerate(classes)
    ]
    rows.append((Cell("together"), *(Cell(f"{sum(found.values()):,}") for found in numbers.values())))
    columns = (Column("class", number=False), *map(Column, numbers))
    return Table("Images of each class", columns, tuple(rows))
