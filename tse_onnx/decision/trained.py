"""Plans whose numbers were trained together with weights of a model: they are for a model that has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from onnx import TensorProto, numpy_helper

from tse_onnx.decision.plan import Plan
from tse_onnx.errors import UsageError
from tse_onnx.files.external import check_locations, loaded
from tse_onnx.files.source import Source
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting

_DIGITS = 32


def fingerprints(tensors: Iterable[TensorProto], folder: Path | None = None) -> Mapping[str, str]:
    """What tells the numbers of initializers from others, by name: a digest of type, dimensions and elements. `folder`
    is where those lie that are in files of their own."""
    found = {}
    for tensor in tensors:
        array = numpy_helper.to_array(loaded(tensor, folder or Path()) if tensor.external_data else tensor)
        digest = hashlib.sha256(f"{array.dtype} {list(array.shape)} ".encode() + array.tobytes())
        found[tensor.name] = digest.hexdigest()[:_DIGITS]
    return found


def need_trained(plan: Plan, source: Source) -> None:
    """Raise `UsageError` where a model has other weights than those that a plan was trained with, `ModelError` where
    they cannot be read."""
    if not plan.weights:
        return
    named = [tensor for tensor in source.model.graph.initializer if tensor.name in plan.weights]
    if any(tensor.external_data for tensor in named):
        check_locations(source.model, source.folder)
    found = fingerprints(named, source.folder)
    if other := next((name for name, wanted in plan.weights.items() if found.get(name) != wanted), None):
        raise UsageError(
            f"the plan was trained together with weights that {source.title} has not, {quoted(other)} for one: it is "
            f"for the model that distil {setting('train', ['excite'])} wrote as its {setting('model_output')}"
        )
