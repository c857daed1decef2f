"""A node on numbers of our own: its output tells what it does to them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import NodeProto, TensorProto

from tse_onnx.runtime.single import Single
from tse_onnx.streaming.execute.kernels.kernel import Site


def probed(site: Site, node: NodeProto, feed: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> np.ndarray:
    """The node's output for other numbers, of another type than the network's."""
    made = NodeProto()
    made.CopyFrom(node)
    kept = list(node.output)
    dtype = TensorProto.DOUBLE if next(iter(feed.values())).dtype == np.float64 else TensorProto.FLOAT
    run = Single(
        made,
        site.opsets,
        dict.fromkeys(feed, dtype),
        others,
        kept[kept.index(site.stage.output)],
        {name: array.shape for name, array in feed.items()},
    )
    return run(feed)
