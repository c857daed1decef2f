"""What becomes of a block."""

from __future__ import annotations

from dataclasses import dataclass

from tse_onnx.passes.blocks.block import Block
from tse_onnx.passes.blocks.choice import Choice, Form
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.tiling import Cover, Cut, OpenStrips, Tiling
from tse_onnx.passes.reasons import Refusal

CONVERTED, UNCHANGED, REFUSED = "converted", "unchanged", "refused"


@dataclass(frozen=True)
class Decision:
    """What becomes of a block.

    It is `converted` to `choice`, which on its map comes to `form`; `unchanged` because that would change nothing or
    the plan keeps it; or `refused`. `open_strips` is set where the size of the map stays open until the model
    runs.
    """

    block: Block
    status: str
    choice: Choice | None
    form: Form | None
    refusal: Refusal | None = None
    note: str = ""
    open_strips: OpenStrips | None = None

    @property
    def reason(self) -> str | None:
        """Why the block is not converted, or is frozen, as a sentence."""
        return self.refusal.text if self.refusal else self.note or None

    @property
    def tiling(self) -> Tiling | None:
        """The choice, if it is a tiling."""
        return self.choice if isinstance(self.choice, Tiling) else None

    @property
    def cover(self) -> Cover | None:
        """The geometry of the tiling on the block's map."""
        return self.form if isinstance(self.form, Cut) else None  # type: ignore[return-value]  # the only cuts there are

    @property
    def frozen(self) -> Frozen | None:
        """The gate in constants that the block gets."""
        return self.form if isinstance(self.form, Frozen) else None
