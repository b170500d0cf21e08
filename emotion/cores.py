"""How many processor cores there are for this process."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of control groups, version 2


def cores() -> int:
    """The processor cores that this process may use: by its affinity and by its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text().split())
    except (OSError, ValueError):  # no such file here, or "max"
        return count
    return max(1, min(count, -(-quota // period)))
