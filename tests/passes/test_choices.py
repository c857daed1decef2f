"""A choice for a block is spelled once: its fields say all of it, and every other spelling comes from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import network
from tse_onnx import Frozen, Plan, Tiling, UsageError, convert, find_blocks
from tse_onnx.conversion.schema import tiling_json
from tse_onnx.passes.blocks.choices import CHOICES, SQUEEZES, choice_of, fields_of, identity
from tse_onnx.passes.blocks.tiling import RUNNING, TILE, UPPER, Calibration
from tse_onnx.tuning.choices import key
from tse_onnx.tuning.store import Store
from tse_onnx.tuning.work import Measured, only

_SIZES = st.none() | st.integers(1, 20)
_NUMBERS = st.floats(-4, 4)


@st.composite
def _choices(draw):
    if draw(st.integers(0, 4)) == 0:
        return draw(st.just(None) | st.builds(Frozen, st.lists(_NUMBERS, min_size=1, max_size=5).map(tuple)))
    squeeze = draw(st.sampled_from([name for name, kind in SQUEEZES.items() if kind is Tiling]))
    if squeeze == TILE:
        rows, cols = draw(st.tuples(_SIZES, _SIZES).filter(any))
        return Tiling(rows, cols, balanced=draw(st.booleans()), axis=draw(st.integers(0, 2)))
    rows, calibration = draw(st.integers(1, 20)), None
    if squeeze == RUNNING and draw(st.booleans()):
        channels = draw(st.integers(1, 3))
        row = st.lists(_NUMBERS, min_size=channels, max_size=channels).map(tuple)
        numbers = draw(st.lists(st.tuples(_NUMBERS, row), min_size=1, max_size=3))
        calibration = Calibration(tuple(slope for slope, _ in numbers), tuple(offsets for _, offsets in numbers))
    step = draw(st.integers(1, rows)) if squeeze == RUNNING else 1
    return Tiling(rows, None, squeeze, step, draw(st.booleans()), draw(st.integers(0, 2)), calibration)


@given(choice=_choices())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_fields_say_all_of_it(choice):
    """As data, through JSON as nodes bear it, and in a plan file."""
    assert choice_of(fields_of(choice)) == choice
    assert choice_of(json.loads(json.dumps(fields_of(choice)))) == choice
    plan = Plan(Tiling(5), {"b": choice})
    assert Plan.loads(plan.dumps()) == plan


@given(one=_choices(), other=_choices())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_only_the_same_choice_has_the_same_identity(one, other):
    assert (identity(one) == identity(other)) == (one == other)
    assert (key((("b", one),)) == key((("b", other),))) == (one == other)


# All of these were kept under one key, and so were measurements of one given out for another.
ALIKE = (
    Tiling(7), Tiling(7, 3), Tiling(7, squeeze=UPPER), Tiling(7, squeeze="middle"), Tiling(7, balanced=True),
    Tiling(7, divisors=True), Tiling(7, axis=1), Tiling(None, 7), Tiling(7, squeeze=RUNNING), Tiling(7, squeeze=RUNNING, axis=1),
)  # fmt: skip


def test_measurements_of_like_tilings_are_kept_apart(tmp_path):
    with Store(tmp_path, "0" * 32) as store:
        for number, tiling in enumerate(ALIKE):
            assert store.missing(only(tiling, "b"), [0])
            store.add(Measured(only(tiling, "b"), 0, [float(number)]))
    with Store(tmp_path, "0" * 32) as store:
        assert [store.losses(only(tiling, "b"), [0]) for tiling in ALIKE] == [[float(n)] for n in range(len(ALIKE))]


def test_names_of_blocks_do_not_run_into_each_other(tmp_path):
    strange = 'a=7;b", {"rows":7}], ["c'
    keys = [key(((strange, Tiling(7)),)), key((("a", Tiling(7)), ("b", Tiling(7)))), key(((strange[:1], Tiling(7)),))]
    assert len(set(keys)) == 3


def test_a_file_of_older_keys_is_not_misread(tmp_path):
    """What `b=7` was measured for cannot be told; it is measured anew."""
    with Store(tmp_path, "0" * 32) as store:
        path = store.path
    for old in ("b=7", "b=r7", "b=frozen:0123456789abcdef"):
        with path.open("a") as file:
            file.write(json.dumps({"combination": old, "batch": 0, "losses": [1.0]}) + "\n")
    with Store(tmp_path, "0" * 32) as store:
        assert all(store.missing(only(tiling, "b"), [0]) for tiling in (*ALIKE, Frozen((1.0,)), None))


def test_every_kind_is_spelled_everywhere():
    """Of each class of choices: a line in the head of plan files, a place in the schema of reports."""
    schema = (Path(__file__).parents[2] / "docs/report.schema.json").read_text()
    allowed = set(schema.split('"'))
    head = Plan().dumps().partition("schema")[0]
    for kind in CHOICES:
        assert set(kind.squeezes) <= allowed
        assert all(line in head and meaning in head for line, meaning in kind.examples)
    for name in ("rows", "cols", "step", "balanced", "axis", "calibrated", "squeeze"):
        assert name in tiling_json(Frozen((1.0,)))
        assert name in tiling_json(Tiling(3))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [({"squeeze": "round"}, "there is no squeeze 'round'; there are tile, running"), ({"rows": 0}, "at least one row")],
)
def test_bad_fields(fields, complaint):
    with pytest.raises(UsageError, match=complaint):
        choice_of(fields)


@pytest.mark.parametrize("text", ['{"squeeze": "global"}', '{"squeeze": ["tile"]}', '{"rows": 3, "colour": 1}', "[3]"])
def test_a_record_that_names_no_choice_is_damaged(text):
    """It may come from anywhere: the block is then like any other graph."""
    model = convert(network(16, 8), rows=3, verify=False).model
    for node in model.graph.node:
        for entry in node.metadata_props:
            if entry.key == "tse_onnx.tiling":
                entry.value = text
    assert not any(block.tiled for block in find_blocks(model))
