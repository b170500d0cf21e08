"""From the `data` and `preprocess` sections of a configuration to an open store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from emotion import registry
from emotion.data.cache import default_cache_dir
from emotion.data.preparation import Preparation
from emotion.data.selection import select
from emotion.data.splits import Split, make_split
from emotion.data.store import Progress, Store, prepare
from emotion.data.table import SampleTable
from emotion.schema import DataConfig, PreprocessConfig, RunConfig


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
    reader: Any = registry.builder("data", data.name)
    options = data.reader_options()
    preparation = Preparation(
        size_px=preprocess.size_px or options.get("size_px") or reader.NATURAL_SIZE_PX,
        channels=reader.CHANNELS,
        margin=preprocess.margin,
    )
    return open_prepared(data, preparation, cache_dir, progress, say)


def open_prepared(
    data: DataConfig,
    preparation: Preparation,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Store:
    """As `open_store`, with the preparation of a trained network instead of one chosen by the data set."""
    reader: Any = registry.builder("data", data.name)
    root = None if data.root is None else data.root.absolute()
    options = data.reader_options()
    key = {
        "name": data.name,
        "root": None if root is None else str(root),
        "options": options,
        "signature": reader.signature(root, **options),
    }

    def announced() -> SampleTable:
        if say:
            say(f"Preparing {data.name}{'' if root is None else f' from {root}'}.")
        table: SampleTable = reader.read(root, **options)
        return table

    store = prepare(announced, key, preparation, cache_dir or default_cache_dir(), progress)
    return select(store, data)


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
    )
