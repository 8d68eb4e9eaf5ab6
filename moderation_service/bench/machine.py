"""What a figure was measured on: the machine, the versions, and the command that repeats it."""

import json
import os
import platform
import resource
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moderation_service import __version__

_CPUINFO = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")


def with_conditions(figures: Mapping[str, Any], command: str) -> str:
    """The figures as JSON, with the machine, the versions and the command."""
    return json.dumps({**figures, "machine": machine(), "versions": versions(), "command": command}, indent=1)


def machine() -> dict[str, Any]:
    """The processor's model, the cores that this process may use, and bytes of memory; the GPU where one was used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": _cpu(), "cores": cores, "memory_bytes": memory, "gpu": _gpu(), "system": platform.platform()}


def versions() -> dict[str, str]:
    """Of what the figures hang on."""
    libraries = {name: version(name) for name in ("torch", "transformers", "aiokafka")}
    return {"moderation-service": __version__, "python": platform.python_version(), **libraries}


def peak_memory() -> int:
    """Bytes that this process had in memory at most."""
    if _STATUS.exists():  # `getrusage` counts in the process that began this one
        (line,) = (line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _cpu() -> str:
    """As Linux names it; elsewhere the kind of processor alone may be known."""
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _gpu() -> str | None:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
