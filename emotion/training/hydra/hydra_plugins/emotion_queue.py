"""Hydra's `-m` on our queue. Hydra finds plugins only in the namespace `hydra_plugins`, so this file lies apart.

The sweeper expands the commas without composing every job twice, as Hydra's own does; the launcher takes the jobs of
any sweeper.
"""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from emotion.errors import ConfigError, EmotionError
from emotion.launch import JobComposer, extra_folders, fail
from emotion.training.jobs import Wanted
from emotion.training.queue import run_sweep


class QueueSweeper(Sweeper):
    """Every combination of the swept values, in the order typed, the last one changing fastest."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        typed = {argument.partition("=")[0].lstrip("+") for argument in arguments}
        params = [f"{key}={value}" for key, value in self.params.items() if key not in typed]
        assert self.launcher is not None
        try:
            jobs = expand([*params, *arguments])
        except EmotionError as error:
            fail(error)
        return self.launcher.launch(jobs, initial_job_idx=0)


class QueueLauncher(Launcher):
    """Runs a batch of jobs on the queue."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        pass

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        try:
            compose = JobComposer(extra_folders(sys.argv[1:]))
            finished = run_sweep([_wanted(overrides, compose) for overrides in job_overrides])
        except EmotionError as error:
            fail(error)
        except KeyboardInterrupt:
            print("\nInterrupted.", flush=True)
            raise SystemExit(130) from None
        status = JobStatus.COMPLETED if finished else JobStatus.FAILED
        if not finished:
            raise SystemExit(1)
        return [JobReturn(overrides=overrides, status=status) for overrides in job_overrides]


def _wanted(overrides: Sequence[str], compose: JobComposer) -> Wanted:
    try:
        return Wanted(tuple(overrides), compose(overrides))
    except ConfigError as error:
        return Wanted(tuple(overrides), error)


def expand(arguments: Sequence[str]) -> list[list[str]]:
    """All combinations, each as a list of overrides.

    Raises:
        ConfigError: a sweep over an interval or a pattern of names.
    """
    axes: list[list[str]] = []
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        if not override.is_sweep_override():
            assert override.input_line is not None
            axes.append([override.input_line])
        elif override.is_discrete_sweep() and not isinstance(override.value(), Glob):
            key = override.get_key_element()
            axes.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            raise ConfigError(
                f"{override.input_line}: expected values with commas, choice(…) or range(…), found something else."
            )
    return [list(combination) for combination in itertools.product(*axes)]
