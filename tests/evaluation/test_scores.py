"""Scores against their definitions, written out sample by sample in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tse_onnx.runtime.scores import Meter, per_sample_kl, per_sample_noise


def _softmax(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def _kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def _noise(row, other):
    signal = sum(float(value) ** 2 for value in row)
    noise = sum((float(b) - float(a)) ** 2 for a, b in zip(row, other, strict=True))
    return 0.0 if noise == 0 else math.inf if signal == 0 else noise / signal


@st.composite
def pairs(draw, low=-20, high=20):
    shape = draw(st.tuples(st.integers(1, 9), st.integers(2, 12)))
    floats = arrays.arrays(np.float32, shape, elements=st.floats(low, high, width=32))
    labels = arrays.arrays(np.int64, shape[:1], elements=st.integers(0, shape[1] - 1))
    return draw(floats), draw(floats), draw(labels)


@given(pairs(), st.integers(1, 9))
def test_scores_are_what_they_are_defined_as(pair, step):
    a, b, labels = pair
    meter = Meter(["y"])
    for at in range(0, len(a), step):
        part = slice(at, at + step)
        meter.add({"y": a[part]}, {"y": b[part]}, labels[part])
    (score,) = meter.result()
    kl = [_kl(_softmax(p.tolist()), _softmax(q.tolist())) for p, q in zip(a, b, strict=True)]
    noise = [_noise(p, q) for p, q in zip(a, b, strict=True)]
    assert per_sample_kl({"y": a}, {"y": b}) == pytest.approx(kl, rel=1e-6, abs=1e-9)
    assert per_sample_noise({"y": a}, {"y": b}) == pytest.approx(noise)
    assert score.kl == pytest.approx(np.mean(kl), rel=1e-6, abs=1e-9)
    assert score.noise == pytest.approx(np.mean(noise))
    assert score.samples == len(a)
    assert score.agreement == np.mean(a.argmax(1) == b.argmax(1))
    assert score.differing is None
    was, now = a.argmax(1) == labels, b.argmax(1) == labels
    found = score.accuracy
    assert (found.original_top1, found.top1) == (was.mean(), now.mean())
    assert (found.lost, found.gained) == (np.sum(was & ~now), np.sum(now & ~was))
    if a.shape[1] > 5:
        # A stable sort: of equal ones the earlier class comes first, as with argmax.
        best = [np.argsort(-rows, axis=1, kind="stable")[:, :5] for rows in (a, b)]
        hits = [np.mean([label in five for label, five in zip(labels, top, strict=True)]) for top in best]
        assert [found.original_top5, found.top5] == pytest.approx(hits)
    else:
        assert (found.original_top5, found.top5) == (None, None)


def test_divergence_of_a_known_pair():
    """KL of (1/2, 1/2) from (1/4, 3/4) is log 2 − log(3) / 2, as logits and as probabilities."""
    p, q = np.array([[0.5, 0.5]], np.float32), np.array([[0.25, 0.75]], np.float32)
    wanted = math.log(2) - math.log(3) / 2
    assert per_sample_kl({"y": p}, {"y": q})[0] == pytest.approx(wanted)
    assert per_sample_kl({"y": np.log(p) + 30}, {"y": np.log(q) - 5})[0] == pytest.approx(wanted, rel=1e-5)
    assert per_sample_kl({"y": p[:, :, None, None]}, {"y": q[:, :, None, None]})[0] == pytest.approx(wanted)


@pytest.mark.parametrize("scale", [1, 1e4, 1e30])
def test_no_logits_are_too_large(scale):
    a = np.array([[1.0, 0.0, -1.0]]) * scale
    (kl,) = per_sample_kl({"y": a}, {"y": a[:, ::-1]})
    p = _softmax((a[0] / scale).tolist()) if scale == 1 else [1, 0, 0]
    assert kl == pytest.approx(2 * scale * (p[0] - p[2]))  # the difference of the logarithms is that of the logits
    assert per_sample_kl({"y": a}, {"y": a.copy()})[0] == 0


def test_a_probability_that_underflows_is_no_infinity():
    p, q = np.array([[0.75, 0.25]], np.float32), np.array([[1.0, 0.0]], np.float32)
    assert 0 < per_sample_kl({"y": p}, {"y": q})[0] < 100


def test_outputs_of_integers_count_what_differs():
    a = np.zeros((3, 2, 5), np.int64)
    b = a.copy()
    b[1, 0, :3] = 7
    assert per_sample_noise({"map": a}, {"map": b}) == pytest.approx([0, 0.3, 0])
    meter = Meter(["map"])
    meter.add({"map": a}, {"map": b})
    (score,) = meter.result()
    assert (score.differing, score.agreement, score.kl) == (0.1, None, None)
    with pytest.raises(ValueError, match="classes"):
        per_sample_kl({"map": a}, {"map": b})


def test_several_outputs_of_any_shape():
    random = np.random.default_rng(0)
    a = {"map": random.standard_normal((4, 3, 5, 5)), "y": random.standard_normal((4, 3)), "one": np.float32([2.0])}
    b = {name: value + 0.5 for name, value in a.items()}
    each = [0.25 * 75 / np.square(a["map"]).sum((1, 2, 3)), 0.25 * 3 / np.square(a["y"]).sum(1), np.full(4, 0.25 / 4)]
    assert per_sample_noise(a, b) == pytest.approx(np.mean(each, axis=0))
    only = per_sample_kl({"y": a["y"]}, {"y": b["y"]})
    assert per_sample_kl(a, b) == pytest.approx(only)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_as_far_as_can_be(bad):
    a = np.ones((2, 6), np.float32)
    b = a.copy()
    b[1, 2] = bad
    labels = np.zeros(2, np.int64)
    assert per_sample_noise({"y": a}, {"y": b}).tolist() == [0, math.inf]
    assert per_sample_kl({"y": a}, {"y": b})[1] == math.inf
    meter = Meter(["y"])
    meter.add({"y": a}, {"y": b}, labels)
    (score,) = meter.result()
    assert (score.max_abs, score.sqnr_db, score.noise, score.kl) == (math.inf, -math.inf, math.inf, math.inf)
    assert (score.accuracy.original_top1, score.accuracy.top1) == (1, 0.5)
    assert per_sample_noise({"y": b}, {"y": b.copy()}).tolist() == [0, 0]
    assert per_sample_kl({"y": b}, {"y": b.copy()}).tolist() == [0, 0]


def test_another_shape_is_as_far_as_can_be():
    a, b = np.ones((2, 6), np.float32), np.ones((2, 7), np.float32)
    assert per_sample_noise({"y": a}, {"y": b}).tolist() == [math.inf, math.inf]
    meter = Meter(["y"])
    meter.add({"y": a}, {"y": b})
    (score,) = meter.result()
    assert (score.max_abs, score.agreement) == (math.inf, None)
