"""The most memory that a piece of work held."""

from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK = "5"  # what Linux takes for: forget the peak so far


def reset_peak(device: torch.device) -> None:
    """Begin anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        _CLEAR.write_text(_PEAK, encoding="utf-8")


def peak_bytes(device: torch.device) -> int | None:
    """Since then: of tensors on a GPU; elsewhere of the whole process, where it can be told (on Linux)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not _CLEAR.exists():
        return None
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
