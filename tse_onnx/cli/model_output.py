"""Where a command puts the model that it trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tse_onnx.errors import UsageError

if TYPE_CHECKING:
    from tse_onnx.distillation.result import DistilResult
    from tse_onnx.files.source import Source


@contextmanager
def model_at(path: Path | None, source: Source) -> Iterator[Callable[[DistilResult], str]]:
    """What writes the model with the trained weights, and says so. Whether it can be written there is found out at
    once; it is taken back if what comes after it fails."""
    if path is None:
        yield lambda found: ""
        return
    from onnx import ModelProto

    from tse_onnx.files.external import check_locations
    from tse_onnx.files.staging import resolved, staging

    if source.path is not None and resolved(path) == resolved(source.path):
        raise UsageError("--model-output is MODEL, which is never changed: name another file")
    check_locations(source.model, source.folder)
    with staging(path) as stage:

        def put(found: DistilResult) -> str:
            assert found.model is not None
            model = ModelProto()
            model.CopyFrom(found.model)  # where weights lie may have to be written into it
            stage.write(model, source.folder, None if found.improved else source.original())
            stage.commit()
            if not found.improved:
                return f"The model was written to {path} as it was."
            return f"The model with the trained weights was written to {path}: the plan is for that."

        yield put
