"""Bytes, as people read them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB")


def size(count: float) -> str:
    """Bytes in a unit that fits."""
    if count < 0:
        return f"−{size(-count)}"
    for unit in _UNITS:
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
