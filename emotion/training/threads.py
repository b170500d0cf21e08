"""How torch's threads wait for each other: decided before torch is imported, when OpenMP reads it."""

import os
import sys
import time
from pathlib import Path

from emotion.cores import whole_cores
from emotion.training.environment import WAITING

_STAT = Path("/proc/stat")
_LOOKS, _APART_S = 3, 0.005


def waiting() -> dict[str, str]:
    """The variables that let threads sleep while they wait, where other programs want the cores; else none: they spin.

    A network's step has hundreds of places where its threads wait for each other. On idle cores, spinning there takes
    less time than being woken; where another program has one of the cores, it takes time from the very thread that is
    waited for. Where OMP_WAIT_POLICY or GOMP_SPINCOUNT is set already, it stays; where torch is imported already, as
    in a notebook, it would come too late.
    """
    if "torch" in sys.modules or set(WAITING) & os.environ.keys() or not cores_are_wanted():
        return {}
    return {"OMP_WAIT_POLICY": "PASSIVE"}


def cores_are_wanted() -> bool:
    """Whether what runs now and a thread of ours on each of our cores are more than the machine has processors.

    True where only Linux could say.
    """
    try:
        others = min(_running() - 1 for _ in range(_LOOKS))
    except (OSError, ValueError):
        return True
    return others + whole_cores() > (os.cpu_count() or 1)


def _running() -> int:
    """The tasks that run or could run at this moment, the one that asks included: proc(5)."""
    time.sleep(_APART_S)
    fields = dict(line.split(" ", 1) for line in _STAT.read_text().splitlines())
    return int(fields["procs_running"])
