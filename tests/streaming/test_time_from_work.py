"""Time from work: depths without a stall, against events that are played out one after the other.

The oracle shares nothing with the package: it has networks of its own description, kernels' windows and work from the
definitions, and times that are fractions.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as run
from tests.streams import stream_model
from tse_onnx import Machine

ROOM = 10**6


@dataclass
class Layer:
    """A layer by its definition: `needs(i)` are (input, rows) of row i, `work` what a row takes."""

    name: str
    inputs: tuple[str, ...]
    rows: int
    work: int
    needs: object
    absorbs: int = 0  # rows that one row is made of, taken as they come


@dataclass
class Net:
    """Layers with the ONNX text of the same."""

    height: int
    width: int
    channels: int
    layers: list[Layer] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    weights: dict = field(default_factory=dict)
    shape: dict = field(default_factory=dict)

    def __post_init__(self):
        self.shape["x"] = (self.channels, self.height, self.width)

    def _add(self, name, inputs, shape, work, needs, line, absorbs=0):
        self.shape[name] = shape
        self.layers.append(Layer(name, inputs, shape[1], work, needs, absorbs))
        self.lines.append(f"[{name}] {name} = {line}")
        return name

    def conv(self, name, source, out, kernel=3, stride=1):
        c, h, w = self.shape[source]
        pad = kernel // 2
        shape = (out, (h - 1) // stride + 1, (w - 1) // stride + 1)
        self.weights[f"w_{name}"] = (out, c, kernel, kernel)
        attributes = (
            f"kernel_shape = [{kernel}, {kernel}], pads = [{pad}, {pad}, {pad}, {pad}], strides = [{stride}, {stride}]"
        )

        def needs(i):
            return [(source, [r for r in range(i * stride - pad, i * stride - pad + kernel) if 0 <= r < h])]

        return self._add(
            name,
            (source,),
            shape,
            out * shape[2] * c * kernel * kernel,
            needs,
            f"Conv<{attributes}>({source}, w_{name})",
        )

    def each(self, name, op, *sources):
        c, h, w = self.shape[sources[0]]

        def needs(i):
            return [(s, [min(i, self.shape[s][1] - 1)]) for s in sources]

        return self._add(name, sources, (c, h, w), c * w, needs, f"{op}({', '.join(sources)})")

    def mean(self, name, source):
        c, h, w = self.shape[source]
        return self._add(
            name, (source,), (c, 1, 1), c * w, lambda i: [(source, list(range(h)))], f"GlobalAveragePool({source})", h
        )

    def strips(self, name, source, rows):
        c, h, w = self.shape[source]
        return self._add(
            name, (source,), (c, h // rows, 1), c * w, lambda i: [(source, list(range(i * rows, i * rows + rows)))],
            f"AveragePool<kernel_shape = [{rows}, {w}], strides = [{rows}, {w}]>({source})", rows,
        )  # fmt: skip

    def up(self, name, source, factor=2, across=None):
        c, h, w = self.shape[source]
        across = factor if across is None else across
        self.weights[f"s_{name}"] = np.float32([1, 1, factor, across])
        modes = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
        return self._add(
            name, (source,), (c, h * factor, w * across), c * w * across, lambda i: [(source, [i // factor])],
            f"Resize<{modes}>({source}, , s_{name})",
        )  # fmt: skip

    def squeeze(self, source, rows=None):
        d = self.mean("d", source) if rows is None else self.strips("d", source, rows)
        e = self.conv("e", self.conv("r", d, 2, 1), self.shape[source][0], 1)
        g = self.each("g", "Sigmoid", e)
        return self.each("s", "Mul", source, g if rows is None else self.up("u", g, rows, 1))

    def model(self):
        return stream_model("\n".join(self.lines), (1, *self.shape["x"]), self.weights, outputs=(self.layers[-1].name,))


def cycles(net, rate, rates=None):
    """Cycles of each layer for a row that it makes, or takes."""
    return {each.name: -(-each.work // (rates or {}).get(each.name, rate)) for each in net.layers}


def interval(net, each):
    return max(each[one.name] * (net.shape[one.inputs[0]][1] if one.absorbs else one.rows) for one in net.layers)


def play(net, each, room, images=1):
    """Play the events out, image behind image: when all is done, or False where something had to wait for room. A layer works on one row at a
    time, and lets go of rows when it is done; what is let go of makes room for what comes at that moment."""
    apart = Fraction(interval(net, each), net.height)
    rows_of = {name: shape[1] for name, shape in net.shape.items()}
    last = {}  # (tensor, row): the layers that need it, with the row of theirs after which they no longer do
    for layer in net.layers:
        for row in range(layer.rows):
            for source, rows in layer.needs(row):
                for one in rows:
                    last.setdefault((source, one), {})[layer.name] = row
    # Rows are counted on over the images.
    there, held, awaited = set(), {name: set() for name in net.shape}, {}
    made, took = ({layer.name: 0 for layer in net.layers} for _ in range(2))
    doing = {}  # layer: (when it is done, the row it makes or None, rows to let go of)
    given, now = 0, Fraction(0)

    def put(tensor, row):
        there.add((tensor, row))
        if len(held[tensor]) >= room.get(tensor, ROOM):
            return False
        if (tensor, row % rows_of[tensor]) in last:
            held[tensor].add(row)
            awaited[tensor, row] = set(last[tensor, row % rows_of[tensor]])
        return True

    def drop(tensor, row, layer):
        awaited[tensor, row].discard(layer)
        if not awaited[tensor, row]:
            held[tensor].discard(row)

    while True:
        done = [name for name, (until, _, _) in doing.items() if until == now]
        for name in done:
            for tensor, row in doing[name][2]:
                drop(tensor, row, name)
        for name in done:
            row = doing.pop(name)[1]
            if row is not None and not put(name, row):
                return False
        if given < images * net.height and given * apart == now:
            if not put("x", given):
                return False
            given += 1
        for layer in net.layers:
            if layer.name in doing or made[layer.name] == images * layer.rows:
                continue
            image, row = divmod(made[layer.name], layer.rows)
            if layer.absorbs:
                taken = took[layer.name]
                if (layer.inputs[0], taken) in there:
                    took[layer.name] += 1
                    full = took[layer.name] % layer.absorbs == 0
                    makes = made[layer.name] if full else None
                    made[layer.name] += full
                    doing[layer.name] = (now + each[layer.name], makes, [(layer.inputs[0], taken)])
                continue
            wanted = [(source, image * rows_of[source] + one) for source, rows in layer.needs(row) for one in rows]
            if there.issuperset(wanted):
                gone = [(source, image * rows_of[source] + one) for source in set(layer.inputs)
                        for one in range(rows_of[source]) if last.get((source, one), {}).get(layer.name) == row]  # fmt: skip
                doing[layer.name] = (now + each[layer.name], made[layer.name], gone)
                made[layer.name] += 1
        ahead = [until for until, _, _ in doing.values()]
        if given < images * net.height:
            ahead.append(given * apart)
        if not ahead:
            return now if all(made[layer.name] == images * layer.rows for layer in net.layers) else False
        now = min(ahead)


def residual():
    net = Net(12, 8, 4)
    net.each("y", "Add", "x", net.conv("b", net.conv("a", "x", 16), 4))
    return net


def gate(rows=None):
    net = Net(12, 8, 4)
    net.conv("y", net.squeeze(net.conv("a", "x", 8), rows), 4, 1)
    return net


def level():
    net = Net(16, 8, 4)
    e = net.conv("e", "x", 4)
    u = net.up("u", net.conv("m", net.conv("t", e, 8, 3, 2), 4))
    net.conv("y", net.each("c", "Add", e, u), 4)
    return net


def inverted():
    net = Net(16, 8, 4)
    h = net.each("h", "Relu", "x")
    s = net.squeeze(net.conv("k", net.conv("p", h, 12, 1), 12, 5), 4)
    net.each("y", "Add", h, net.conv("q", s, 4, 1))
    return net


def bursts():
    """Two rows at once come to a squeeze, which takes one after the other."""
    net = Net(6, 8, 4)
    net.conv("y", net.squeeze(net.up("a", "x"), 4), 4, 1)
    return net


NETS = {
    "residual": residual,
    "gate": gate,
    "tiles": lambda: gate(3),
    "level": level,
    "inverted": inverted,
    "bursts": bursts,
}
RATES = {"one rate": (16, {}), "a slow excite": (64, {"r": 1}), "a slow layer": (128, {"a": 8, "k": 8, "m": 4}),
         "slow taking": (64, {"d": 1}), "fast": (4096, {})}  # fmt: skip


@pytest.mark.parametrize("images", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", NETS)
def test_depths_never_stall_and_one_row_less_does(name, rate, images):
    net = NETS[name]()
    rate, rates = RATES[rate]
    rates = {layer: each for layer, each in rates.items() if layer in {one.name for one in net.layers}}
    each = cycles(net, rate, rates)
    found = tse_onnx.stream(net.model(), machine=Machine(macs_per_cycle=rate, rates=rates, back_to_back=images > 1))
    assert found.time.interval == interval(net, each)
    assert found.time.latency == math.ceil(play(net, each, {}))
    room = {buffer.tensor: buffer.no_stall.rows for buffer in found.buffers}
    assert play(net, each, room, images)
    for buffer in found.buffers:
        assert not play(net, each, room | {buffer.tensor: room[buffer.tensor] - 1}, images), buffer.tensor


def test_an_excite_takes_what_its_numbers_take():
    """By hand: strips of one row on a machine that does a row of the map in 8 · 8 · 4 · 9 / 64 = 36 cycles. The squeeze
    takes 1, the excite 1 + 1 and its gate 1: the map waits for 5 cycles of 36, and with a row time each for more."""
    model = gate(1).model()
    timed = tse_onnx.stream(model, machine=Machine(macs_per_cycle=64))
    assert timed.time == tse_onnx.stream(model, machine=Machine(macs_per_cycle=64.0)).time
    assert timed.time.interval == 12 * 36
    assert timed.of("a").no_stall.rows == 1
    assert tse_onnx.stream(model).of("a").no_stall.rows > 3


def test_work_is_counted_by_definition():
    """MACs as the sum over the elements of the output of the products that each is a sum of; see any profile."""
    model = stream_model(
        """
        a = Conv<kernel_shape = [3, 5], group = 2, strides = [2, 1], pads = [1, 2, 1, 2]>(x, w)
        b = ConvTranspose<kernel_shape = [2, 2], strides = [2, 2]>(a, t)
        c = MaxPool<kernel_shape = [2, 2]>(b)
        f = Flatten(c)
        h = Gemm<transB = 1>(f, v)
        y = MatMul(h, m)
        """,
        (1, 4, 8, 6), {"w": (6, 2, 3, 5), "t": (6, 3, 2, 2), "v": (5, 231), "m": (5, 7)},
    )  # fmt: skip
    macs = [(6 * 4 * 6) * (2 * 3 * 5), (6 * 4 * 6) * (3 * 2 * 2), 0, 0, 231 * 5, 5 * 7]
    found = tse_onnx.stream(model, machine=Machine(macs_per_cycle=7))
    assert [stage.macs for stage in found.stages] == macs
    # Rows of what is made; of what is taken by the Gemm, which sums up the 7 rows of a map as they come.
    rows = [4, 8, 7, 7, 7, 1]
    elements = [0, 0, 3 * 8 * 12, 3 * 7 * 11]
    works = [-(-(mac or each) // (7 * row)) * row for mac, each, row in zip(macs, [*elements, 0, 0], rows, strict=True)]
    assert [stage.cycles for stage in found.stages] == works


def test_a_layer_and_what_follows_it_work_side_by_side():
    body = "a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w)\nb = Relu(a)\ny = Add(b, x)"
    model = stream_model(body, (1, 4, 8, 6), {"w": (4, 4, 3, 3)})
    (stage,) = tse_onnx.stream(model, machine=Machine(fusion=True, macs_per_cycle=9, elements_per_cycle=1)).stages
    assert stage.cycles == 8 * 6 * 4 * 4
    (stage,) = tse_onnx.stream(model, machine=Machine(fusion=True, macs_per_cycle=9, elements_per_cycle=0.125)).stages
    assert stage.cycles == 8 * 6 * 4 * 8


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("time") / "digits.onnx"
    models.save("digits_se", path)
    return path


def test_the_interval_is_reported(digits, tmp_path):
    plain = json.loads(run("stream", digits, "--no-run", "--format", "json").stdout)["dataflow"]
    assert plain["time"] is None
    assert plain["machine"]["macs_per_cycle"] is None
    words = ("stream", digits, "--no-run", "--macs-per-cycle", "64", "--macs-per-cycle", "/0/Conv=2")
    found = json.loads(run(*words, "--elements-per-cycle", "8", "--format", "json").stdout)["dataflow"]
    conv = next(stage for stage in found["stages"] if stage["stage"] == "Conv '/0/Conv'")
    assert found["time"]["latency"] > found["time"]["interval"] == conv["cycles"]
    assert found["time"]["slowest"] == conv["stage"]
    assert conv["macs"] <= 2 * conv["cycles"] < conv["macs"] + 2 * 64
    assert f"every {conv['cycles']:,} cycles: so long works Conv '/0/Conv'" in run(*words).stdout.decode()
    path = tmp_path / "board.toml"
    path.write_text('macs_per_cycle = 64\nelements_per_cycle = 8\n[rates]\n"/0/Conv" = 2\n')
    assert (
        json.loads(run("stream", digits, "--no-run", "--machine", path, "--format", "json").stdout)["dataflow"] == found
    )
    told = run("report", digits, "--rows", "7", "--macs-per-cycle", "64").stdout.decode()
    assert "An image can come every" in told


@pytest.mark.parametrize(("words", "said"), [
    (("--macs-per-cycle", "fast"), "'fast' is not [NODE=]N"),
    (("--macs-per-cycle", "0"), "macs_per_cycle is a number above 0, not 0.0"),
    (("--macs-per-cycle", "nan"), "macs_per_cycle is a number above 0, not nan"),
    (("--macs-per-cycle", "8", "--macs-per-cycle", "/a=-1"), "rates: that of '/a' is a number above 0, not -1.0"),
    (("--macs-per-cycle", "/a=1"), "a rate of one node goes with that of all others"),
    (("--elements-per-cycle", "4"), "elements_per_cycle goes with macs_per_cycle"),
])  # fmt: skip
def test_what_is_no_rate(digits, words, said):
    assert said in refused(run("stream", digits, "--no-run", *words))


def test_a_latency_is_in_row_times_of_the_stage():
    """A row that is there three row times later leaves the next stage and the addition waiting for as long."""
    net = residual()
    slow = Machine(macs_per_cycle=16, latencies={"a": 3})
    depth = [tse_onnx.stream(net.model(), machine=machine).of("x").no_stall.rows
             for machine in (Machine(macs_per_cycle=16), slow)]  # fmt: skip
    assert depth[1] == depth[0] + 2
