"""What becomes of a block: it is converted, kept as it is, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from tse_onnx.passes.blocks.block import Block, Convertible, Pooling, Tiled
from tse_onnx.passes.blocks.choice import Choice, Form
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.tiling import Cover, OpenStrips, Tiling
from tse_onnx.passes.reasons import Refusal

CONVERTED, UNCHANGED, REFUSED = "converted", "unchanged", "refused"


@dataclass(frozen=True)
class Decision:
    """What becomes of a block: `Convert`, `Keep` or `Refuse`.

    It is `converted` to `choice`, which on its map comes to `form`; `unchanged` because that would change nothing or
    the plan keeps it; or `refused`.
    """

    block: Block
    status: str
    choice: Choice | None
    form: Form | None
    refusal: Refusal | None = None
    note: str = ""

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
        return self.form if isinstance(self.form, Cover) else None

    @property
    def frozen(self) -> Frozen | None:
        """The gate in constants that the block gets."""
        return self.form if isinstance(self.form, Frozen) else None

    @property
    def open_strips(self) -> OpenStrips | None:
        """The strips where the size of the map stays open until the model runs."""
        return None


@dataclass(frozen=True)
class Convert(Decision):
    """The block is `written` in the form of a choice; `form` is None where the size of its map is not known."""

    block: Convertible
    status: str = field(default=CONVERTED, init=False)
    choice: Choice
    refusal: None = field(default=None, init=False)
    written: Form | OpenStrips = field(kw_only=True)

    @property
    def open_strips(self) -> OpenStrips | None:
        """The strips where the size of the map stays open until the model runs."""
        return self.written if isinstance(self.written, OpenStrips) else None


@dataclass(frozen=True)
class Keep(Decision):
    """The block stays as it is; `form` is what it has already, or what a choice comes to without changing it."""

    block: Convertible | Tiled
    status: str = field(default=UNCHANGED, init=False)
    refusal: None = field(default=None, init=False)


@dataclass(frozen=True)
class Refuse(Decision):
    """The block cannot be converted, or not by its choice."""

    block: Pooling
    status: str = field(default=REFUSED, init=False)
    form: None = field(default=None, init=False)
    refusal: Refusal = field(kw_only=True)


Decided = Convert | Keep | Refuse
"""What `decide` returns."""
