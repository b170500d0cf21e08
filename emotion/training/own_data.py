"""A finished run's own data: the images that it was trained on, and their parts."""

from collections.abc import Callable
from pathlib import Path

from emotion.data.dataset import open_store, prepared_store, split_store
from emotion.data.splits import Split
from emotion.data.store import Store
from emotion.errors import DataError, EmotionError
from emotion.runs import RunFolder
from emotion.schema import validate
from emotion.training.progress import preparing

_PICTURES_OF = {"ferplus": "fer2013", "expw_cleaned": "expw"}  # data sets that are made of another's pictures
_SEVERAL = ("folder", "csv", "drawn")  # names that any number of data sets go by


def own_store(
    run: RunFolder, cache_dir: Path | None = None, say: Callable[[str], None] | None = None
) -> Store:
    """The images of a run, prepared again where that isn't there any more.

    Args:
        cache_dir: where prepared data lies; None: where the run had it.
        say: called with a sentence before and after they are prepared.

    Raises:
        DataError: they are gone, or have changed.
    """
    config = validate(run.config)
    where = config.data, config.preprocess, cache_dir or config.machine.cache_dir
    store = open_store(*where, preparing(say) if say else None, say)
    if store.fingerprint != run.splits["data"]["fingerprint"]:
        raise DataError(
            f"expected the data that {run.name} was trained on, found that it has changed since. Put those files "
            "back, or train it again."
        )
    return store


def as_trained(
    run: RunFolder, cache_dir: Path | None = None, say: Callable[[str], None] | None = None
) -> tuple[Store, Split]:
    """As `own_store`, with the parts that the run trained on, was selected by and was scored on.

    Raises:
        DataError: the images are gone or have changed, or would fall into other parts.
    """
    store = own_store(run, cache_dir, say)
    split = split_store(validate(run.config), store)
    if split.manifest["hash"] != run.splits["hash"]:
        raise DataError(
            f"expected the parts that {run.name} was trained with, found that this version divides its images "
            f"otherwise. Use version {run.status['version']} of emotion, or train it again."
        )
    return store, split


def at_hand(
    run: RunFolder, cache_dir: Path | None = None, prepare: bool = False
) -> tuple[Store, Split] | None:
    """As `as_trained`; None where the images or their parts aren't as they were.

    Args:
        prepare: prepare the images again where that isn't there any more, instead of None.
    """
    try:
        config = validate(run.config)
        where = config.data, config.preprocess, cache_dir or config.machine.cache_dir
        if not prepare and prepared_store(*where) is None:
            return None
        return as_trained(run, cache_dir)
    except (EmotionError, OSError):
        return None


def pictures_of(name: str) -> str:
    """The data set whose pictures a data set is made of.

    >>> pictures_of("ferplus"), pictures_of("lfw_ms")
    ('fer2013', 'lfw_ms')
    """
    return _PICTURES_OF.get(name, name)


def same_pictures(run: RunFolder, store: Store) -> bool:
    """Whether both are of one data set, perhaps in another form or cut out otherwise (data.crop, data.box)."""
    name = pictures_of(run.splits["data"]["name"])
    if name != pictures_of(store.name):
        return False
    roots = (run.config["data"].get("root"), store.manifest["key"].get("root"))
    places = [Path(root).expanduser().resolve() for root in roots if root is not None]
    return name not in _SEVERAL or (len(places) == 2 and places[0] == places[1])
