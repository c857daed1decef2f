"""timm and torchvision, whose compiled operators are not needed."""

from __future__ import annotations

import types

import pytest


@pytest.fixture(scope="session")
def pytorch_hub():
    """Both, or the test is skipped."""
    pytest.importorskip("torch")
    from models.torch_networks import declare_torchvision_operators

    declare_torchvision_operators()
    torchvision = pytest.importorskip("torchvision", exc_type=ImportError)
    timm = pytest.importorskip("timm", exc_type=ImportError)
    return types.SimpleNamespace(timm=timm, torchvision=torchvision)
