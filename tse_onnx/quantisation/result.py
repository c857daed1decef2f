"""A quantised model and what it loses, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

from tse_onnx.files.encode import encoded
from tse_onnx.quantisation.correction import Corrected
from tse_onnx.quantisation.qdq.ranges import Ranges
from tse_onnx.runtime.scores import Score
from tse_onnx.shown import Shown


@dataclass(frozen=True)
class QuantisedLayer:
    """A layer by its name: `quantised`, or in float for the `reason`; what became of its bias, where biases were
    corrected; and its `share`, where layers were measured: its noise alone as a part of that of all of them together.
    """

    name: str
    operator: str
    quantised: bool
    reason: str = ""
    correction: Corrected | None = None
    share: float | None = None


@dataclass(frozen=True, repr=False)
class QuantiseResult(Shown):
    """A model in eight bits.

    * `model`: with QuantizeLinear and DequantizeLinear, and corrected biases where that was asked for; `path` is the
      file that has it, if any;
    * `layers`: what became of each, in the order in which they run, and then those that cannot be quantised;
      `operators` says which ones were meant;
    * `ranges`: those of the values, which serve other quantised models of the same network; `samples` says what they
      were measured on;
    * `scores`: how far each output is from the float model's on the samples that `judged` describes, and which
      had no part in it where it is `held_out`; `uncorrected` the same before biases were corrected, None where they
      were not; `uncorrectable` are the convolutions whose bias could not be, with the reason.
    """

    original: str
    model: ModelProto = field(repr=False)
    layers: tuple[QuantisedLayer, ...]
    operators: str
    ranges: Ranges
    samples: str
    scores: tuple[Score, ...]
    uncorrected: tuple[Score, ...] | None
    judged: str
    held_out: bool
    uncorrectable: tuple[tuple[str, str], ...] = ()
    path: Path | None = None

    def serialized(self) -> bytes:
        """The bytes of the model."""
        return b"".join(encoded(self.model))
