"""What training needs, said before any work starts."""

from __future__ import annotations

import importlib.util

from tse_onnx.errors import UsageError


def need_torch() -> None:
    """Raise `UsageError` where torch is not installed. It is not imported here: that takes seconds."""
    if importlib.util.find_spec("torch") is None:
        raise UsageError("distilling needs torch: pip install 'tse-onnx[distil]'")
