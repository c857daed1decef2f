"""What models without inputs compute: sizes that the passes fold, constants that a run needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto

_FATAL_ONLY = 4  # what goes wrong is raised as well, and said once


def evaluate(model: ModelProto) -> Sequence[np.ndarray]:
    """The outputs of a model without inputs, in order, by its nodes as they are written.

    onnx's own evaluator gets a Clip without an upper bound wrong (1.23). Raises whatever onnxruntime raises.
    """
    from tse_onnx.runtime.ort import ort  # most models have no such sizes, and the import takes longer than the search

    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values: Sequence[np.ndarray] = session.run(None, {})
    return values
