"""What a conversion is checked on, and what it is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tse_onnx.data.presets import Preprocessing, preprocess_of
from tse_onnx.errors import UsageError
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.settings import setting

if TYPE_CHECKING:
    from tse_onnx.data.given import DataLike
    from tse_onnx.data.samples import Samples

_MOST_THREADS = 1024


@dataclass(frozen=True)
class Checks:
    """Which checks are made of a conversion, what they run on, and what they allow.

    `verify` and `certify` say which. Both run on `data` prepared as `preprocess` says, or on noise drawn from `seed`,
    and have `time_limit` seconds together; `threads` are onnxruntime's, 0 for all processors. `max_drift` bounds the
    absolute difference of the model's outputs, `tolerance` the relative one of a tensor of the certificate's run.
    Raises `UsageError` for what makes no sense.
    """

    verify: bool = True
    certify: bool = False
    data: DataLike | None = None
    preprocess: Preprocessing = "unit"
    seed: int = 0
    threads: int = 0
    max_drift: float | None = None
    tolerance: float | None = None
    time_limit: float | None = None

    def __post_init__(self) -> None:
        if self.max_drift is not None and not self.verify:
            raise UsageError("a bound on the drift needs the verification that was turned off")
        if self.max_drift is not None and not self.max_drift >= 0:
            raise UsageError(f"a bound on the drift is zero or more, not {self.max_drift}")
        if self.seed < 0:
            raise UsageError(f"a seed is zero or more, not {self.seed}")
        if not 0 <= self.threads <= _MOST_THREADS:
            raise UsageError(f"threads are 0 (all processors) to {_MOST_THREADS}, not {self.threads}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise UsageError(f"a time limit is more than zero seconds, not {self.time_limit}")
        if self.tolerance is not None and not self.certify:
            raise UsageError(f"a tolerance is that of the certificate: it needs {setting('certify', True)}")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise UsageError(f"a tolerance is zero or more, not {self.tolerance}")
        if self.data is not None:
            from tse_onnx.data.given import given

            object.__setattr__(self, "data", given(self.data))
        # A file that says how to prepare is read once, before any model is.
        object.__setattr__(self, "preprocess", preprocess_of(self.preprocess))

    def samples(self, types: Mapping[str, TensorType]) -> Samples:
        """What a model whose inputs have these types is run on. Raises `DataError`."""
        from tse_onnx.data.given import given
        from tse_onnx.data.noise import samples_or_noise

        data = None if self.data is None else given(self.data)
        return samples_or_noise(types, data, preprocess_of(self.preprocess), self.seed)
