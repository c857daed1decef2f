"""What becomes of a block."""

from __future__ import annotations

from dataclasses import dataclass

from tse_onnx.passes.block import Block
from tse_onnx.passes.frozen import Frozen
from tse_onnx.passes.reasons import Refusal
from tse_onnx.passes.tiling import Cover, OpenStrips, Tiling

CONVERTED, UNCHANGED, REFUSED = "converted", "unchanged", "refused"


@dataclass(frozen=True)
class Decision:
    """What becomes of a block.

    It is `converted` to `tiling`, whose geometry on its map is `cover`, or to the gate in `frozen`; `unchanged` because
    one tile covers its map or the plan keeps it; or `refused`. `open_strips` is set where the size of the map
    stays open until the model runs.
    """

    block: Block
    status: str
    tiling: Tiling | None
    cover: Cover | None
    refusal: Refusal | None = None
    note: str = ""
    open_strips: OpenStrips | None = None
    frozen: Frozen | None = None

    @property
    def reason(self) -> str | None:
        """Why the block is not converted, or is frozen, as a sentence."""
        return self.refusal.text if self.refusal else self.note or None
