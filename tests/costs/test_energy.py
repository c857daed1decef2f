"""Accesses against loops that make each of them, and energies against numbers worked out by hand."""

import itertools
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as run
from tests.graphs import se_model, text_model
from tse_onnx.costs.array import Array
from tse_onnx.costs.arrays import ARRAYS, array_of
from tse_onnx.costs.cycles import accesses_of, layer_on
from tse_onnx.costs.energy import Energy
from tse_onnx.costs.profile import profile
from tse_onnx.errors import UsageError

STATED = 'size = 4\nbuffer = 1024\n[energy]\nmac = 1\nbuffer = 2\nbuffer_bits = 16\ndram = 3\ndram_bits = 16\nsource = "ours"'


def convolution(size):
    """The only layer of a network that is a convolution without padding."""
    taps, moves, spread = ([size[key + axis] for axis in "hw"] for key in "ksd")
    weights = np.ones((size["Co"], size["Ci"] // size["g"], *taps), np.float32)
    body = f"y = Conv<group = {size['g']}, strides = {moves}, dilations = {spread}>(x, w)"
    inputs = f"float[1, {size['Ci']}, {size['H']}, {size['W']}] x"
    (layer,) = profile(text_model(body, {"w": weights}, inputs=inputs, outputs="float[1, c, h, w2] y")).layers
    return layer


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    size = {"g": groups, "Ci": groups * draw(st.integers(1, 4)), "Co": groups * draw(st.integers(1, 4))}
    size |= {key: draw(st.integers(1, 3)) for key in ("kh", "kw", "sh", "sw", "dh", "dw")}
    size["H"] = draw(st.integers(size["dh"] * (size["kh"] - 1) + 1, 11))
    size["W"] = draw(st.integers(size["dw"] * (size["kw"] - 1) + 1, 11))
    return size


def squares(length, side):
    return [range(at, min(at + side, length)) for at in range(0, length, side)]


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.integers(1, 5))
def test_accesses_are_those_of_loops_that_make_each(size, side):
    layer = convolution(size)
    array = Array("plain", side, 1 << 40, sparsity=0)
    channels, height, width = layer.output
    inputs, outputs = size["Ci"] // size["g"], channels // size["g"]
    pixels = list(itertools.product(range(height), range(width)))
    taps = list(itertools.product(range(size["kh"]), range(size["kw"])))
    begun, reads, writes, products = set(), 0, 0, 0
    for group, kept in itertools.product(
        range(size["g"]), itertools.product(squares(inputs, side), squares(outputs, side))
    ):
        for _tap, pixel in itertools.product(taps, pixels):
            reads += len(kept[0])
            for channel in kept[1]:
                products += len(kept[0])
                place = (group, channel, pixel)
                reads += place in begun
                begun.add(place)
                writes += 1
    found = accesses_of(layer, array, "ws")
    assert (found.macs, found.buffer) == (products, reads + writes)
    assert found.dram == channels * inputs * len(taps)

    reads = writes = products = 0
    for rows, columns in itertools.product(squares(height, side), squares(width, side)):
        held = {
            (channel, size["sh"] * row + size["dh"] * i, size["sw"] * column + size["dw"] * j)
            for channel in range(size["Ci"]) for row in rows for column in columns for i, j in taps
        }  # fmt: skip
        reads += len(held)
        for _channel in range(channels):
            for _weight in range(inputs * len(taps)):
                reads += 1
                products += len(rows) * len(columns)
            writes += len(rows) * len(columns)
    found = accesses_of(layer, array, "os")
    assert (found.macs, found.buffer) == (products, reads + writes)


def test_energies_by_hand():
    """4 to 6 channels of 5 × 5 by 1 × 1 on 4 × 4: 600 products. Weight stationary reads 4 · 25 twice, for 4 and for 2 of the
    outputs, and writes 150 sums; 24 weights come from memory, and with a buffer of 100 numbers the output goes there."""
    size = dict.fromkeys(("kh", "kw", "sh", "sw", "dh", "dw", "g"), 1) | {"Ci": 4, "Co": 6, "H": 5, "W": 5}
    layer = convolution(size)
    energy = Energy(mac=0.5, buffer=8.0, buffer_bits=64, dram=100.0, dram_bits=32, source="by hand")
    array = Array("by hand", 4, 1 << 20, dataflows=("ws",), bits=16, energy=energy)
    found = layer_on(layer, array)
    assert (found.accesses.macs, found.accesses.buffer, found.accesses.dram) == (600, 2 * 4 * 25 + 150, 24)
    assert found.energy == 600 * 0.5 + 350 * 8 / 4 + 24 * 100 / 2
    small = layer_on(layer, replace(array, buffer=200))
    assert small.accesses.dram == 24 + 150
    twice = layer_on(replace(layer, nodes=("a", "b"), macs=1200, parameters=2 * layer.parameters), array)
    assert twice.energy == 2 * found.energy
    # Output stationary: squares of 4 × 4, 4 × 1, 1 × 4 and 1 × 1 read 4 · 25, four times the 24 weights, of which half are zero.
    sparse = layer_on(layer, replace(array, dataflows=("os",), sparsity=0.5))
    assert (sparse.accesses.macs, sparse.accesses.buffer, sparse.accesses.dram) == (300, 100 + 48 + 150, 24)


@pytest.mark.parametrize(("axes", "macs"), [(1, 3 * 2 * 3 * 5), (2, 3 * 2 * 9 * 25), (3, 3 * 2 * 27 * 125)])
def test_every_axis_of_a_map_is_gone_through(axes, macs):
    """On one element and without skips, either dataflow takes a cycle for each product, and the array's fixed cost."""
    model = text_model(
        "y = Conv(x, w)", {"w": np.ones((3, 2, *(3,) * axes), np.float32)},
        inputs=f"float[1, 2, {', '.join('7' * axes)}] x", outputs=f"float[1, 3, {', '.join('5' * axes)}] y",
    )  # fmt: skip
    (layer,) = profile(model).layers
    assert layer.macs == macs
    found = layer_on(layer, Array("one", 1, 1 << 40, sparsity=0, load=0, drain=0, setup=0, bytes_per_cycle=1e12))
    assert found.by_dataflow == {"ws": macs + 2 * 3 * 2 * 3**axes, "os": macs}
    assert found.accesses.macs == macs


def test_what_is_published():
    small, large = (ARRAYS[f"squeezelerator{size}"].with_energy("horowitz2014").energy for size in (8, 16))
    assert (small.mac, small.buffer, small.dram, small.buffer_bits) == (1.5, 20.0, 1300.0, 64)
    assert (large.buffer, large.unit) == (100.0, "pJ")
    byte = Array("byte", 8, 8192, bits=8).with_energy("horowitz2014").energy
    assert byte.mac == pytest.approx(0.3)
    assert byte.buffer == 10.0
    relative = ARRAYS["squeezelerator8"].with_energy("eyeriss2016").energy
    assert (relative.mac, relative.buffer, relative.dram, relative.unit) == (1, 6, 200, "MAC")
    assert ARRAYS["squeezelerator8"].energy is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STATED + "\nwire = 3", "there is no key 'wire'"),
        (STATED.replace("mac = 1", "mac = -1"), "mac is a number of pJ from 0"),
        (STATED.replace("mac = 1", "mac = true"), "mac is a number of pJ from 0"),
        (STATED.replace("dram = 3", "dram = 1" + "0" * 400), "dram is a number of pJ from 0"),
        (STATED.replace("dram = 3\n", ""), "energy: dram is missing"),
        (STATED.replace("buffer_bits = 16", "buffer_bits = 0"), "buffer_bits is a whole number from 1"),
        (STATED.replace('"ours"', '" "'), "source says in words"),
        ("size = 4\nbuffer = 1024\nenergy = 3", "energy is a table, or the name"),
        ('size = 4\nbuffer = 1024\nenergy = "horowitz"', "energies are of horowitz2014 or eyeriss2016"),
        ('size = 4\nbuffer = 1024\nbits = 8\nenergy = "eyeriss2016"', "energies for 16 bits"),
        ('size = 4\nbuffer = 1024\nbits = 4\nenergy = "horowitz2014"', "energies for 8, 16 and 32 bits"),
        ('size = 4\nbuffer = 2097152\nenergy = "horowitz2014"', "memories up to 1 MiB"),
    ],
)
def test_bad_energies_are_one_line(tmp_path, text, said):
    (tmp_path / "a.toml").write_text(text)
    onnx.save(se_model(), tmp_path / "m.onnx")
    assert said in refused(run("profile", "m.onnx", "--array", "a.toml", "--csv", "out.csv", cwd=tmp_path))
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(UsageError):
        array_of(tmp_path / "a.toml")


def test_an_energy_needs_an_array_and_a_name(tmp_path):
    onnx.save(se_model(), tmp_path / "m.onnx")
    assert "--array" in refused(run("profile", "m.onnx", "--energy", "eyeriss2016", cwd=tmp_path))
    words = ("profile", "m.onnx", "--array", "squeezelerator8")
    assert "horowitz2014 or eyeriss2016" in refused(run(*words, "--energy", "mine", cwd=tmp_path))


def test_energy_before_and_after_a_conversion(tmp_path):
    models.save("digits_se", tmp_path / "digits.onnx")
    (tmp_path / "a.toml").write_text(STATED)
    assert run("convert", "digits.onnx", "tiled.onnx", "--no-verify", cwd=tmp_path).returncode == 0
    words = ("profile", "digits.onnx", "tiled.onnx", "--array", "a.toml")
    found = validated(run(*words, "--format", "json", cwd=tmp_path).stdout, "profile")
    assert found["array"]["energy"]["source"] == "ours"
    for network in (found, found["converted"]):
        for layer in network["layers"]:
            done = layer["accesses"]
            assert (done is None) == (layer["energy"] is None) == (layer["dataflow"] is None)
            if done is not None:
                assert layer["energy"] == pytest.approx(done["macs"] + 2 * done["buffer"] + 3 * done["dram"])
        summed = math.fsum(layer["energy"] or 0 for layer in network["layers"])
        assert network["totals"]["energy"] == pytest.approx(summed)
    assert found["converted"]["totals"]["energy"] > found["totals"]["energy"]
    text = run(*words, cwd=tmp_path).stdout.decode()
    assert "energy before" in text
    assert "Energies after ours." in text
    assert "energy" not in run(*words[:-1], "squeezelerator8", cwd=tmp_path).stdout.decode()
    known = tse_onnx.cost(tmp_path / "digits.onnx", "squeezelerator16", energy="horowitz2014")
    assert known.energy == pytest.approx(sum(one.energy for one in known.layers.values()))
    assert tse_onnx.cost(tmp_path / "digits.onnx", "squeezelerator16").energy is None
