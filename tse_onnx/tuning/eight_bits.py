"""A network that is chosen for in eight bits."""

from __future__ import annotations

import logging
from dataclasses import replace

from tse_onnx.data.samples import Samples
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import ranges_on
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject
from tse_onnx.timing import phase
from tse_onnx.tuning.network import Network
from tse_onnx.tuning.settings import Settings

_log = logging.getLogger(__name__)


def in_eight_bits(network: Network, samples: Samples, settings: Settings, scheme: Scheme) -> Network:
    """The network with its values quantised, their ranges those on `samples`: what it loses is told from the float
    network, and what a choice loses is what it adds to that.

    Raises `ModelError` where it cannot be quantised, `DataError` for fewer than two samples.
    """
    subject = Subject.of(network.source, scheme.operators, settings.input_shapes)
    with phase(_log, "calibrating"):
        ranges = ranges_on(subject, samples.feeds(), scheme, settings.threads)
    model = quantised(subject, ranges, scheme)
    source = replace(network.source, model=model, data=model.SerializeToString(), name=network.source.title)
    return Network(source, settings.input_shapes, settings.kinds, settings.threads, told_from=network)
