"""From the `data` and `preprocess` sections of a configuration to an open store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from emotion import registry
from emotion.data import leaky
from emotion.data.cache import default_cache_dir
from emotion.data.extra import with_extra
from emotion.data.filters import Filter
from emotion.data.layout import existing_folder, tree_digest
from emotion.data.preparation import Preparation
from emotion.data.selection import select
from emotion.data.splits import Split, make_split
from emotion.data.store import Progress, Store, prepare, store_path
from emotion.data.table import SampleTable
from emotion.schema import RunConfig
from emotion.schema.data import DataConfig
from emotion.schema.images import PreprocessConfig


def open_store(
    data: DataConfig,
    preprocess: PreprocessConfig,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Store:
    """The images that a configuration describes, from their prepared store, which is made now if it is not there yet.

    Args:
        cache_dir: where stores lie; None: `$EMOTION_CACHE`, else `~/.cache/emotion`.
        progress: called with (images done, images in all) while a store is made.
        say: called with a sentence before one is made.

    Raises:
        DataError: the data is not there, not recognised or not readable, or can't be stored.
    """
    preparation = preparation_of(data, preprocess)
    return open_prepared(data, preparation, cache_dir, progress, say)


def open_prepared(
    data: DataConfig,
    preparation: Preparation,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Store:
    """As `open_store`, with the preparation of a trained network instead of one chosen by the data set."""

    def announced() -> SampleTable:
        if say:
            place = "" if data.root is None else f" from {data.root.absolute()}"
            filtered = f" with {preparation.filter.name}" if preparation.filter else ""
            say(f"Preparing {data.name}{place}{filtered}.")
        return read_table(data, preparation)

    store = prepare(announced, _key(data), preparation, cache_dir or default_cache_dir(), progress)
    return select(store, data)


def read_table(data: DataConfig, preparation: Preparation) -> SampleTable:
    """The samples that a configuration describes, before they are prepared.

    Raises:
        DataError: the data is not there, not recognised or not readable.
    """
    reader: Any = registry.builder("data", data.name)
    table: SampleTable = reader.read(_root(data), **data.reader_options())
    if data.protocol == "leaky":
        table = leaky.with_copies(table, preparation.crop_px)
    if data.extra is not None:
        table = with_extra(table, data.extra.absolute(), reader.CHANNELS)
    return table


def prepared_store(
    data: DataConfig, preprocess: PreprocessConfig, cache_dir: Path | None = None
) -> Store | None:
    """The whole store of what a configuration describes, if it is there already.

    Raises:
        DataError: the data is not there, or the store is broken.
    """
    path = store_path(_key(data), preparation_of(data, preprocess), cache_dir or default_cache_dir())
    return Store.open(path) if path.exists() else None


def preparation_of(data: DataConfig, preprocess: PreprocessConfig) -> Preparation:
    """How a configuration's images are prepared."""
    reader: Any = registry.builder("data", data.name)
    own = data.reader_options().get("size_px")
    return Preparation(
        size_px=preprocess.size_px or preprocess.crop_px or own or reader.NATURAL_SIZE_PX,
        channels=reader.CHANNELS,
        margin=preprocess.margin,
        crop_px=preprocess.crop_px,
        filter=Filter.of(preprocess),
    )


def _root(data: DataConfig) -> Path | None:
    return None if data.root is None else data.root.absolute()


def _key(data: DataConfig) -> dict[str, Any]:
    """What the sample table depends on."""
    reader: Any = registry.builder("data", data.name)
    root, options = _root(data), data.reader_options()
    key = {
        "name": data.name,
        "root": None if root is None else str(root),
        "options": options,
        "signature": reader.signature(root, **options),
    }
    if data.extra is not None:
        folder = existing_folder(data.extra.absolute(), "data.extra")
        key["extra"] = f"{folder}-{tree_digest(folder)}"
    if data.protocol == "leaky":
        key["leaky"] = leaky.REVISION
    return key


def split_store(config: RunConfig, store: Store) -> Split:
    """The split of a store that a configuration asks for.

    Raises:
        DataError: the data can't be split so.
    """
    return make_split(
        store.frame,
        fold=config.fold,
        folds=config.folds,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.data.split_seed,
        classes=store.classes,
        official=store.official,
        per_class=config.data.per_class,
        leaky=config.data.protocol == "leaky",
    )
