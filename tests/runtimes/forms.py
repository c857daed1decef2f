"""The ways to write a block that tools are tried with, as choices and options of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto

import tse_onnx
from tests.runtimes.networks import DIVIDING, HEIGHT, RAGGED, WIDTH, Setting
from tse_onnx import Frozen, Plan, Previous, Recompute, Tiling
from tse_onnx.passes.blocks.tiling import Running, Tile
from tse_onnx.passes.lowering import MEANS, SPREADS

Plans = Callable[[ModelProto, int], Plan]


@dataclass(frozen=True)
class Form:
    """One way: `plan` says the choices for a model and rows, `options` is what `convert` is told beside it. What
    `cuts` depends on whether the rows divide the maps."""

    name: str
    plan: Plans
    options: Mapping[str, str] = field(default_factory=dict)
    cuts: bool = True


def _strips(model: ModelProto, rows: int) -> Plan:
    return Plan(Tiling(rows))


def _patches(model: ModelProto, rows: int) -> Plan:
    return Plan(Tiling(rows, rows))


def _running(model: ModelProto, rows: int) -> Plan:
    return Plan(Tiling(rows, squeeze="running", step=rows))


def _recompute(model: ModelProto, rows: int) -> Plan:
    return Plan(Recompute())


def _previous(model: ModelProto, rows: int) -> Plan:
    return Plan(Previous())


def _frozen(model: ModelProto, rows: int) -> Plan:
    """Gates of the numbers that a block might have."""
    random = np.random.default_rng(3)
    shapes = {"x": (1, 3, HEIGHT, WIDTH)}
    found = [block for block in tse_onnx.find_blocks(model, input_shapes=shapes) if block.refusal is None]
    return Plan(None, {
        block.name: Frozen(tuple(float(gate) for gate in random.uniform(0.2, 0.9, block.channels or 1)))
        for block in found
    })  # fmt: skip


_UPSAMPLES = [way.name for way in SPREADS]
_TILED = [way.name for way in MEANS if Tile in way.needs.covers]
_RUNNING = [way.name for way in MEANS if Running in way.needs.covers]

TILINGS: Mapping[str, tuple[Plans, bool]] = {
    "strips": (_strips, True),
    "patches": (_patches, True),
    "running": (_running, True),
    "recompute": (_recompute, False),
    "frozen": (_frozen, False),
    "previous": (_previous, False),
}
"""What can be asked for, and whether it cuts maps."""

# Ways to means and spreads that belong together.
_PAIRS = (("view", "view"), ("gemm", "ones"), ("rows", "full"), ("pool", "full"))

FORMS: tuple[Form, ...] = (
    Form("strips", _strips, {"upsample": _UPSAMPLES[0], "means": _TILED[0]}),
    *(Form(f"strips, {upper}", _strips, {"upsample": upper}) for upper in _UPSAMPLES[1:]),
    *(Form(f"strips, means by {middle}", _strips, {"means": middle}) for middle in _TILED[1:]),
    *(Form(f"strips, {' and '.join(pair)}", _strips, {"means": pair[0], "upsample": pair[1]}) for pair in _PAIRS),
    Form("patches", _patches, {"upsample": _UPSAMPLES[0], "means": _TILED[0]}),
    *(Form(f"patches, {upper}", _patches, {"upsample": upper}) for upper in _UPSAMPLES[1:]),
    *(Form(f"patches, means by {middle}", _patches, {"means": middle}) for middle in _TILED[1:]),
    Form("running", _running, {"upsample": _UPSAMPLES[0], "means": _RUNNING[0]}),
    *(Form(f"running, {upper}", _running, {"upsample": upper}) for upper in _UPSAMPLES[1:]),
    *(Form(f"running, means by {middle}", _running, {"means": middle}) for middle in _RUNNING[1:]),
    Form("running, gemm and ones", _running, {"upsample": "ones", "means": "gemm"}),
    Form("recompute", _recompute, cuts=False),
    Form("frozen", _frozen, cuts=False),
    Form("previous", _previous, cuts=False),
)
"""Every spread and every way to running means, each beside what is written where nothing is said of the other."""


def chosen_for(target: str) -> tuple[Form, ...]:
    """The same choices, in the form that a target's profile picks."""
    return tuple(Form(name, plan, {"target": target}, cuts) for name, (plan, cuts) in TILINGS.items())


def written(model: ModelProto, form: Form, rows: int, setting: Setting) -> tuple[ModelProto, int]:
    """The model with its blocks in a form, and how many have it. Raises what `convert` does."""
    shapes = {"x": (1, 3, HEIGHT, WIDTH)} if setting.size else None
    made = tse_onnx.convert(
        model, plan=form.plan(model, rows), input_shapes=shapes, dynamic=setting.size, verify=False, **form.options
    )
    return made.model, made.report.buffering.totals.converted


ROWS: Mapping[str, int] = {"divides": DIVIDING, "ragged": RAGGED}
