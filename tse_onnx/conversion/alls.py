"""A conversion as Hailo's compiler is told of it: where it tiles the first blocks in order, with one height."""

from __future__ import annotations

from tse_onnx.decision.decision import Convert, Decided, Refuse
from tse_onnx.decision.preparation import Preparation, in_data_flow
from tse_onnx.errors import CheckFailed
from tse_onnx.passes.blocks.block import Refused
from tse_onnx.passes.blocks.tiling import TILE, Tile
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting
from tse_onnx.targets.alls import FirstTiles


def first_tiles_of(made: Preparation) -> FirstTiles:
    """What a model script says that comes to what was decided. Raises `CheckFailed`, with the first block that speaks
    against it."""
    decisions = {decision.block.name: decision for decision in made.decisions}
    order = [decisions[block.name] for block in in_data_flow(made.analysis.parts) if not isinstance(block, Refused)]
    count, height, left = 0, 0, ""
    for decision in order:
        if not isinstance(decision, Convert):
            left = left or _left(decision)
            continue
        rows = _rows(decision)
        if left:
            raise CheckFailed(
                f"{setting('alls')} tiles the first blocks in order, and {left}, before {_name(decision)}{_instead()}"
            )
        if height and rows != height:
            raise CheckFailed(
                f"{setting('alls')} has one tile height, and {_name(decision)} has tiles of {rows} rows, the ones "
                "before "
                f"{height}{_instead()}"
            )
        count, height = count + 1, rows
    if not count:
        raise CheckFailed(f"{setting('alls')} has nothing to say: no block is tiled")
    return FirstTiles(count, height)


def _left(decision: Decided) -> str:
    return f"{_name(decision)} {'is refused' if isinstance(decision, Refuse) else 'stays as it is'}"


def _rows(decision: Convert) -> int:
    cover, block = decision.cover, decision.block
    whole = isinstance(cover, Tile) and cover.axis == 0 and cover.sizes[1:] == cover.extents[1:]
    if block.kind != "se" or len(block.extents) != 2 or not whole or decision.choice.kind != TILE:
        raise CheckFailed(
            f"{setting('alls')} knows tiles of full rows of squeeze-and-excite blocks alone, and "
            f"{_name(decision)} gets "
            f"{decision.choice}{_instead()}"
        )
    assert isinstance(cover, Tile)
    return cover.sizes[0]


def _name(decision: Decided) -> str:
    return quoted(decision.block.name)


def _instead() -> str:
    return f"; hand over the converted model instead, without {setting('alls')}"
