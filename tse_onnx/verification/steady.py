"""A converted model on a scene that stands still: its gates are fed back until they move no more.

That is what its drift is measured in. A first frame is scaled by what the plan says, and a block behind others gets its
own gates when theirs have settled: a frame later for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tse_onnx.data.feed import Feed
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Form
from tse_onnx.passes.blocks.previous import Carried
from tse_onnx.runtime.session import Session

# Gates that differ by no more are the same: it is rounding that moves them.
_STILL = 1e-5


@dataclass(frozen=True)
class Still:
    """The gates that go from frame to frame: `ends` are outputs by input, `original` the gates of the original model by
    input. Those are where the run begins, and where it ends if nothing else was changed."""

    ends: Mapping[str, str]
    original: Mapping[str, str]

    @classmethod
    def of(cls, blocks: Iterable[tuple[Convertible, Form]]) -> Still:
        """The gates of these blocks."""
        carried = [form for _, form in blocks if isinstance(form, Carried)]
        return cls(
            {form.gate_in: form.gate_out for form in carried},
            {form.gate_in: form.value for form in carried},
        )

    def run(self, session: Session, feed: Feed, reference: Feed, names: Iterable[str]) -> Feed:
        """The values of `names` in the frame in which the gates stand still; `reference` has the original's gates.

        Each frame settles the gates of one block more at least, so there are no more frames than blocks.
        """
        gates = {name: reference[gate] for name, gate in self.original.items()}
        wanted = list(dict.fromkeys((*names, *self.ends.values())))
        for _ in range(len(self.ends) + 1):
            values = session.run({**feed, **gates}, wanted)
            after = {name: values[gate] for name, gate in self.ends.items()}
            if all(np.allclose(after[name], gates[name], _STILL, _STILL, equal_nan=True) for name in gates):
                break
            gates = after
        return values
