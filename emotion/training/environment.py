"""The machine a run runs on: what it has, and what we set before the first tensor."""

import ctypes
import gc
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from emotion.cores import cores, whole_cores

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # how torch's threads wait; spinning where none is set
TYPED = "EMOTION_COMMAND"  # the variable that holds the command line as it was typed
_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "torchmetrics",
    "albumentations",
    "numpy",
    "hydra-core",
    "polars",
    "opencv-python-headless",
    "scikit-learn",
)
_CPUINFO = Path("/proc/cpuinfo")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_memory() -> None:
    """Tell glibc to keep freed memory instead of returning every activation buffer to the kernel.

    Without it, each step of a network on the CPU pays for the page faults of all its activations again. Must be
    called before the first large allocation; does nothing where the C library isn't glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_M_TOP_PAD, 64 * 2**20)


def give_back() -> None:
    """Return freed memory to the system, once, where the C library is glibc, whatever `keep_memory` told it."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def resolve_threads(threads: int | str, at_once: int = 1) -> int:
    """auto: one a core, shared by so many processes that train at once."""
    return max(1, whole_cores() // at_once) if threads == "auto" else int(threads)


def resolve_workers(workers: int | str, device: str, at_once: int = 1) -> int:
    """auto: up to 4 beside a GPU; none beside a network on the CPU, whose cores they would take.

    Args:
        at_once: processes that train at once and share the processors.
    """
    if workers != "auto":
        return int(workers)
    return min(4, cores() // 2 // at_once) if device == "cuda" else 0


def describe(threads: int, precision: str, device: str) -> dict[str, Any]:
    """Versions, code, hardware and settings of this process, as kept in environment.json."""
    commit, dirty = code_version()
    return {
        "format": 1,
        "versions": {"python": platform.python_version(), "emotion": version()} | _versions(),
        "commit": commit,
        "dirty": dirty,
        "hardware": {
            "cpu": cpu_name(),
            "cores": cores(),
            "memory_gib": _memory_gib(),
            "gpu": _gpu_name(device),
        },
        "platform": platform.platform(),
        "device": device,
        "threads": threads,
        "precision": precision,
        "openmp": {name: os.environ[name] for name in WAITING if name in os.environ},
        "command": os.environ.get(TYPED) or shlex.join(sys.argv),
    }


@cache
def version() -> str:
    try:
        return importlib.metadata.version("emotion")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def code_version() -> tuple[str | None, bool | None]:
    """The commit of our checkout and whether it has local changes; (None, None) for an installed package."""
    top = Path(__file__).parents[2]
    if not (top / ".git").exists():
        return None, None
    try:
        commit = _git(top, "rev-parse", "HEAD")
        return commit, bool(_git(top, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(top: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(top), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def cpu_name() -> str:
    """The processor by its maker's name; where that has no number, as on rented machines, with family and model."""
    try:
        first = _CPUINFO.read_text().partition("\n\n")[0]
    except OSError:
        first = ""
    found = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in first.splitlines())}
    name = found.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in found and "model" in found and not any(letter.isdigit() for letter in name):
        return f"{name} (family {found['cpu family']}, model {found['model']})"
    return name


def _memory_gib() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return 0.0


def _gpu_name(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name(torch.device(device))


def peak_memory_mib() -> float:
    """The largest resident size of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def peak_gpu_memory_mib() -> float:
    """The most that torch has held on the GPU so far."""
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**20, 1)


def forget_peak_gpu_memory(device: Any) -> None:
    """Count from now on: what was held for measuring isn't training's."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
