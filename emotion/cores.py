"""How many processor cores there are for this process."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of control groups, version 2
_TOPOLOGY = Path("/sys/devices/system/cpu")


def cores() -> int:
    """The logical processors that this process may use: by its affinity and by its container's quota."""
    return _within_quota(len(_allowed()))


def whole_cores() -> int:
    """The same, with processors that share one core counted once.

    Arithmetic that fills a core's units gains nothing from a second thread on it, and waits for it. Where only Linux
    could say which share one, each counts.
    """
    allowed = _allowed()
    siblings = (_TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list" for number in allowed)
    try:
        return _within_quota(len({file.read_text().strip() for file in siblings}))
    except OSError:
        return _within_quota(len(allowed))


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _within_quota(count: int) -> int:
    try:
        quota, period = map(int, _QUOTA.read_text().split())
    except (OSError, ValueError):  # no such file here, or "max"
        return count
    return max(1, min(count, -(-quota // period)))
