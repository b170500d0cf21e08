"""What all candidates of a family work on: one prepared store, and the same pictures as folders of jpg files."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from emotion.data.cache import default_cache_dir
from emotion.data.dataset import open_store, split_store
from emotion.data.store import Store
from emotion.launch import compose

QUALITY = 95


def folders(overrides: Sequence[str]) -> Path:
    """`train/` and `val/` with a folder a class, for the peers; prepares the store of `overrides` on the way.

    The parts are those that a run with these overrides trains and validates on. Kept beside the prepared stores.
    """
    config = compose(overrides)
    store = open_store(config.data, config.preprocess, config.machine.cache_dir)
    split = split_store(config, store)
    cache = (config.machine.cache_dir or default_cache_dir()).expanduser() / "benchmarks"
    target = cache / f"{store.path.name}-{split.manifest['hash']['train'][:12]}"
    if not target.is_dir():
        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        for name in ("train", "val"):
            _write(store, split.part(name), part / name)
        part.rename(target)
    return target


def _write(store: Store, rows: np.ndarray, folder: Path) -> None:
    for name in store.classes:  # all of them, so that every peer counts the same classes
        (folder / name).mkdir(parents=True)

    def save(row: int) -> None:
        pixels = store.images[row]
        image = Image.fromarray(pixels[..., 0] if store.channels == 1 else pixels)
        image.save(folder / store.classes[store.labels[row]] / f"{row:07d}.jpg", quality=QUALITY)

    with ThreadPoolExecutor() as pool:
        list(pool.map(save, rows.tolist()))
