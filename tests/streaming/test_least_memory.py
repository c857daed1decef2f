"""The least memory and its bound, against an exhaustive search that shares nothing with the model but need rows."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping

import pytest

import models
import tse_onnx
from tests.streams import CONV3, Streamed, assert_tight, stream_model, streamed
from tse_onnx import Machine, stream
from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.depths.floors import floors
from tse_onnx.streaming.depths.flow import FlowGraph
from tse_onnx.streaming.depths.held import token_elements
from tse_onnx.streaming.depths.least import segments
from tse_onnx.streaming.depths.simulate import simulate
from tse_onnx.streaming.depths.together import together
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.read import network_of

WINDOWS = {
    CONV3: (3, 3),
    "Conv<kernel_shape = [5, 1], pads = [2, 0, 2, 0]>": (5, 1),
    "Conv<kernel_shape = [3, 1], dilations = [2, 1], pads = [4, 0, 0, 0]>": (3, 1),
    "Conv": (1, 1),
}


def drawn(seed: int) -> Streamed:
    """A network of four to seven stages on a map of three to six rows: layers of other widths, branches, gates."""
    draw = random.Random(seed)
    lines, weights = list[str](), dict[str, object]()
    maps = {"x": 2}
    wanted = draw.randint(4, 7)
    while (n := len(lines)) < wanted:
        name, other = draw.choice(list(maps)[-3:]), draw.choice(list(maps))
        kind = draw.choice(["layer", "layer", "add", "concat", "gate", "gate"])
        if kind == "layer":
            layer, kernel = draw.choice(list(WINDOWS.items()))
            maps[f"t{n}"] = draw.randint(1, 6)
            weights[f"w{n}"] = (maps[f"t{n}"], maps[name], *kernel)
            lines.append(f"t{n} = {layer}({name}, w{n})")
        elif kind == "concat":
            maps[f"t{n}"] = maps[name] + maps[other]
            lines.append(f"t{n} = Concat<axis = 1>({name}, {other})")
        elif kind == "add" and maps[name] == maps[other]:
            maps[f"t{n}"] = maps[name]
            lines.append(f"t{n} = Add({name}, {other})")
        elif kind == "gate" and n + 3 <= wanted:
            maps[f"t{n}"] = maps[other]
            weights[f"w{n}"] = (maps[other], maps[name], 1, 1)
            lines += [f"d{n} = GlobalAveragePool({name})", f"g{n} = Conv(d{n}, w{n})", f"t{n} = Mul({other}, g{n})"]
    return streamed(stream_model("\n".join(lines), (1, 2, draw.randint(3, 6), 3), weights, outputs=[list(maps)[-1]]))


def halted(network: Network, room: Mapping[str, int]) -> set[str]:
    """The full tensors in front of which a network stands still, with so many rows of each; none where it ends."""
    made = dict.fromkeys(network.tensors, 0)
    taken = dict.fromkeys(network.tensors, 0)  # rows of its one input that a global mean has added up
    stages = {stage.output: stage for stage in network.stages}

    def waits(name: str, row: int) -> bool:
        for reader in network.readers[name]:
            stage = network.stages[reader]
            for read, need in zip(stage.inputs, stage.needs, strict=True):
                if read == name and stage.absorbs and taken[stage.output] <= row:
                    return True
                if read == name and not stage.absorbs and any(row in rows for rows in need.rows[made[stage.output] :]):
                    return True
        return False

    moved = True
    while moved:
        moved, blocked = False, set()
        for name, tensor in network.tensors.items():
            stage = stages.get(name)
            if stage is not None and stage.absorbs and taken[name] < made[stage.inputs[0]]:
                taken[name] += 1
                moved = True
            if made[name] == tensor.row_count:
                continue
            if stage is not None and stage.absorbs:
                ready = taken[name] == network.tensors[stage.inputs[0]].row_count
            else:
                ready = stage is None or all(
                    made[read] > max(need.rows[made[name]], default=-1)
                    for read, need in zip(stage.inputs, stage.needs, strict=True)
                )
            if not ready:
                continue
            if sum(waits(name, row) for row in range(made[name])) < room[name]:
                made[name] += 1
                moved = True
            else:
                blocked.add(name)
    return blocked


def fewest(network: Network) -> int:
    """The fewest elements with which a network ends, of all capacities that there are, the smaller totals first.

    Where it stands still, one of the full tensors in front of which it does needs a row more: with the others as large
    as they may be, it would stand there just the same.
    """
    names = list(network.tensors)
    width = {name: network.tensors[name].row_elements for name in names}
    first = tuple(1 for _ in names)
    heap, known = [(sum(width.values()), first)], {first}
    while True:
        total, capacities = heapq.heappop(heap)
        blocked = halted(network, dict(zip(names, capacities, strict=True)))
        if not blocked:
            return total
        for name in blocked:
            more = tuple(rows + (name == each) for each, rows in zip(names, capacities, strict=True))
            if more not in known:
                known.add(more)
                heapq.heappush(heap, (total + width[name], more))


@pytest.mark.parametrize("block", range(6))
def test_an_exhaustive_search_finds_nothing_between_the_bound_and_the_least(block):
    """The bound is reached by nearly all of these networks, and the optimum by all that the search has ever judged."""
    gap = 0
    for seed in range(25 * block, 25 * (block + 1)):
        found = drawn(seed)
        assert_tight(found)
        optimum = fewest(found.network)
        assert found.bound <= optimum == found.elements, seed
        gap += found.bound < optimum
    assert gap <= 1


def test_some_rows_may_wait_in_several_places():
    """The networks that are drawn are no easy ones: in some of them the tensors' own floors are not enough."""
    beyond = [seed for seed in range(150) if (found := drawn(seed)).least.pieces and found.bound > found.floors]
    assert len(beyond) >= 5


RECOMPUTED = f"""
    z = Conv(x, narrow)
    a = Conv(z, wide)
    b = {CONV3}(a, kernel)
    d = GlobalAveragePool(b)
    g = Sigmoid(d)
    e = Conv(z, wide)
    f = {CONV3}(e, kernel)
    s = Mul(f, g)
    y = Conv(s, narrow_again)
"""


def test_a_map_that_is_made_twice_waits_where_it_is_narrow():
    """z waits with all of its 12 rows but those that are on their way: three of e, and one of f, before the gate is
    there. The first copy holds its window as well; all else one row."""
    weights = {
        "narrow": (2, 3, 1, 1), "wide": (16, 2, 1, 1), "kernel": (16, 16, 3, 3), "narrow_again": (2, 16, 1, 1),
    }  # fmt: skip
    found = streamed(stream_model(RECOMPUTED, (1, 3, 12, 4), weights))
    assert_tight(found)
    rows = found.minimum()
    assert {name: rows[name] for name in "abef"} == {"a": 3, "b": 1, "e": 3, "f": 1}
    assert rows["z"] in (9, 10)
    assert found.bound == found.elements


@pytest.mark.parametrize("storage", ["shared", "per-reader"])
def test_the_bound_of_a_report(storage):
    """Powers of two and bytes are bounded too, and nothing is below the bound."""
    weights = {"narrow": (2, 3, 1, 1), "wide": (16, 2, 1, 1), "kernel": (16, 16, 3, 3), "narrow_again": (2, 16, 1, 1)}
    model = stream_model(RECOMPUTED, (1, 3, 12, 4), weights)
    for machine in (Machine(storage=storage), Machine(storage=storage, power_of_two=True, bits=5)):
        totals = stream(model, machine=machine).totals
        assert totals["bound"].elements <= totals["min"].elements
        assert totals["bound"].bytes <= totals["min"].bytes
        assert totals["bound"].elements >= 9 * 8


def test_a_store_that_grows_where_a_run_halts_ends_with_the_least_that_completes():
    for seed in range(40):
        found = drawn(seed)
        for store in range(len(found.pipeline.stores)):
            trial = [max(1, rows) for rows in found.run.peaks]

            def completes(rows, trial=trial, store=store, pipeline=found.pipeline):
                return simulate(pipeline, [*trial[:store], rows, *trial[store + 1 :]]).completed

            wanted = next(rows for rows in range(1, trial[store] + 1) if completes(rows))
            grown = simulate(found.pipeline, [*trial[:store], 1, *trial[store + 1 :]], growing=store)
            assert grown.completed
            assert max(1, grown.peaks[store]) == wanted, (seed, store)


@pytest.mark.slow
def test_ways_through_a_cut_are_short_however_many_events_a_line_has(monkeypatch):
    """A flow is found in as many turns as ways have lengths, and each turn goes over the whole graph."""
    model = tse_onnx.convert(models.load("efficientnet_b0_torchscript_17"), tiling=tse_onnx.Recompute(), verify=False)
    network = network_of(model.model)
    pipeline = pipeline_of(network, Machine(grain="pixel"))
    recomputed = [stages for stages in segments(pipeline) if len(stages) == 19]
    part, _ = pipeline.part(recomputed[3])  # a block with a map of 14 × 14
    width = [token_elements(network.tensors[store.tensor], Machine(grain="pixel")) for store in part.stores]
    turns, right = [], FlowGraph._levels
    monkeypatch.setattr(FlowGraph, "_levels", lambda self: turns.append(self) or right(self))
    together(part, floors(part), width, 1 << 60)
    assert len(turns) <= 12 * len(set(map(id, turns)))
