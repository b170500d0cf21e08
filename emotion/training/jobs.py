"""Jobs of a sweep: what was typed for each, its checked configuration, and where it lies. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from emotion.data.dataset import open_store, split_store
from emotion.data.store import Store
from emotion.errors import ConfigError, EmotionError
from emotion.runs import RunFolder
from emotion.schema import RunConfig
from emotion.training.folder import folder_name, read_status, source_weights
from emotion.training.identity import check_sources, digest, essence
from emotion.training.progress import preparing


@dataclass(frozen=True)
class Wanted:
    """A job as typed: the overrides, and its configuration or what is wrong with it."""

    overrides: tuple[str, ...]
    config: RunConfig | ConfigError

    @property
    def typed(self) -> str:
        """The overrides without what was added to them for Hydra."""
        return " ".join(one.lstrip("+") for one in self.overrides if not one.startswith("~"))


@dataclass(frozen=True)
class Job:
    """A job whose data is prepared, so that its identity is known."""

    overrides: tuple[str, ...]
    config: RunConfig
    fingerprint: str

    @cached_property
    def essence(self) -> dict[str, Any]:
        return essence(self.config, self.fingerprint)

    @cached_property
    def identity(self) -> str:
        return digest(self.essence)

    @cached_property
    def without_fold(self) -> str:
        """The same for all folds of a configuration."""
        return digest({key: value for key, value in self.essence.items() if key != "fold"})

    @property
    def runs_dir(self) -> Path:
        return self.config.machine.runs_dir.absolute()

    @property
    def folder(self) -> RunFolder:
        """Made anew at each access, because what lies in it changes."""
        return RunFolder(self.runs_dir / folder_name(self.config, self.identity))

    @property
    def choices(self) -> dict[str, str]:
        """What was typed, by key: `model`, `fold`, `loss.gamma` …"""
        parts = (override.partition("=") for override in self.overrides)
        return {key.lstrip("+"): value for key, _, value in parts if not key.startswith("~")}


def prepared(wanted: Sequence[Wanted]) -> list[Job]:
    """Check every job and prepare every data set, before anything is trained.

    Raises:
        ConfigError: names every job that has a problem, each problem once.
    """
    problems: dict[str, list[str]] = {}
    stores: dict[str, Store] = {}
    jobs: list[Job] = []
    tried: set[tuple[Any, ...]] = set()
    for one in wanted:
        if isinstance(one.config, ConfigError):
            problems.setdefault(str(one.config), []).append(one.typed)
            continue
        config = one.config
        key = f"{config.data!r} {config.preprocess!r} {config.machine.cache_dir}"
        try:
            check_sources(config)
            if key not in stores:
                stores[key] = open_store(
                    config.data, config.preprocess, config.machine.cache_dir, preparing(print), print
                )
            job = Job(one.overrides, config, stores[key].fingerprint)
            folder = job.folder  # needs the identity, and so the run that model.init_from names
            status = read_status(folder)
            if config.model.init_from is not None and (status is None or status["state"] != "finished"):
                source_weights(config.model.init_from)
            split = (
                key,
                config.fold,
                config.folds,
                config.val_fraction,
                config.test_fraction,
                config.data.split_seed,
            )
            if split not in tried and not folder.file("splits.json").is_file():
                split_store(config, stores[key])
            tried.add(split)
            jobs.append(job)
        except EmotionError as error:
            problems.setdefault(str(error), []).append(one.typed)
    if problems:
        count = len(wanted)
        listed = [
            f"{said}\n  in {len(where)} of {count} jobs, the first: {where[0]}"
            for said, where in problems.items()
        ]
        raise ConfigError("\n".join(listed))
    different = {job.identity: job for job in jobs}
    if len(different) < len(jobs):
        print(
            f"{len(jobs)} jobs were typed, {len(different)} of them different: alike ones run once.",
            flush=True,
        )
    return list(different.values())
