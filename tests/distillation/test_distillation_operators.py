"""torch computes what onnxruntime does, and its gradients are those of onnxruntime's outputs."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import models
import tse_onnx
from tse_onnx import ModelError, Tiling
from tse_onnx.runtime.ort import ort

torch = pytest.importorskip("torch")

from tse_onnx.distillation.interpreter import OPERATORS, Interpreter  # noqa: E402
from tse_onnx.distillation.operators.tensors import tensor_of  # noqa: E402

RUNNING = Tiling(3, squeeze="running")


def _ort(model, feed, names):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, feed), strict=True))


def _converted(name):
    return tse_onnx.convert(models.load(name), tiling=RUNNING, verify=False).model


@pytest.mark.parametrize("converted", [False, True], ids=["original", "converted"])
@pytest.mark.parametrize("name", models.names())
def test_outputs_of_the_bundled_models(name, converted):
    model = _converted(name) if converted else models.load(name)
    x = models.images(name)
    names = [value.name for value in model.graph.output]
    feed = {model.graph.input[0].name: x}
    expected = _ort(model, feed, names)
    with torch.no_grad():
        found = Interpreter(model)({key: torch.tensor(array) for key, array in feed.items()})
    for output in names:
        scale = np.abs(expected[output]).max()
        np.testing.assert_allclose(found[output].numpy(), expected[output], atol=1e-4 * scale, rtol=0)


@pytest.mark.parametrize("name", models.names())
def test_gradients_of_the_bundled_models(name):
    """Along torch's gradient of some weights, onnxruntime's output rises by as much as torch says."""
    model = _converted(name)
    x, random = models.images(name), np.random.default_rng(0)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = next(node.input[1] for node in convolutions[len(convolutions) // 2 :] if node.input[1] in stored)
    output, fed = model.graph.output[0].name, model.graph.input[0].name
    value = numpy_helper.to_array(stored[weights])
    at = torch.tensor(value.copy(), requires_grad=True)
    made = Interpreter(model)({fed: torch.tensor(x)}, {weights: at})[output]
    pull = torch.tensor(random.standard_normal(made.shape).astype(np.float32))
    (made * pull).sum().backward()
    length = float(at.grad.norm())
    direction = (at.grad / length).numpy() * np.linalg.norm(value)
    expected = length * float(np.linalg.norm(value))

    def moved(step):
        stored[weights].CopyFrom(numpy_helper.from_array(value + np.float32(step) * direction, weights))
        return float((_ort(model, {fed: x}, [output])[output].astype(np.float64) * pull.numpy()).sum())

    # Activations have corners, and single precision rounds: of several steps one is near.
    found = [(moved(step) - moved(-step)) / (2 * step) for step in (1e-2, 1e-3, 1e-4, 3e-5, 1e-5)]
    assert min(abs(one - expected) for one in found) <= 0.02 * expected, (expected, found)


@pytest.fixture(scope="module")
def cases():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for case in collect_testcases(None) if case.model is not None]


def test_every_operator_against_the_cases_of_onnx(cases):
    """Right, or refused by name: never something else."""
    wrong, right = [], set()
    for case in cases:
        nodes = case.model.graph.node
        if not all(node.op_type in OPERATORS and not node.domain for node in nodes):
            continue
        for fed, expected in case.data_sets:
            try:
                feed = {
                    value.name: tensor_of(np.asarray(one))
                    for value, one in zip(case.model.graph.input, fed, strict=False)
                }
                found = Interpreter(case.model)(feed)
            except ModelError:
                continue
            if all(_same(found[value.name], one) for value, one in zip(case.model.graph.output, expected, strict=True)):
                right |= {node.op_type for node in nodes}
            else:
                wrong.append(case.name)
    assert wrong == []
    assert OPERATORS.keys() - right <= {"LayerNormalization", "Dropout", "Sum", "Upsample"}  # see below


def test_operators_without_a_case_that_fits():
    """Those whose cases have further outputs, or are of an opset that onnx has no cases of."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1,2,4,6] x, float[6] s) => (float[1,2,4,6] y)
    { a = LayerNormalization <axis = -1, epsilon = 0.01> (x, s) b = Dropout(a) y = Sum(a, b, x) }"""
    _same_as_ort(onnx.parser.parse_model(text), (1, 2, 4, 6), (6,))
    text = """<ir_version: 4, opset_import: ["" : 9]>
    net (float[1,2,4,6] x, float[4] s) => (float[1,2,8,18] y) { y = Upsample <mode = "nearest"> (x, s) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 3], np.float32), "s"))
    _same_as_ort(model, (1, 2, 4, 6))


def _same_as_ort(model, *shapes):
    random = np.random.default_rng(0)
    feed = {
        value.name: random.standard_normal(shape).astype(np.float32)
        for value, shape in zip(model.graph.input, shapes, strict=False)
    }
    found = Interpreter(model)({name: torch.tensor(array) for name, array in feed.items()})["y"]
    np.testing.assert_allclose(found.numpy(), _ort(model, feed, ["y"])["y"], rtol=1e-5, atol=1e-5)


def _same(found, expected):
    expected = np.asarray(expected)
    return found.shape == expected.shape and np.allclose(
        found.double().numpy(), expected.astype(np.float64), rtol=1e-3, atol=1e-5, equal_nan=True
    )


def test_all_operators_without_a_gradient_are_named():
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    net (float[1,2,4,4] x) => (float[1,2,4,4] y) { a = NonZero(x) b = own.Thing(x) y = Relu(x) }"""
    with pytest.raises(ModelError, match=r"no gradient for 'NonZero', 'own::Thing'"):
        Interpreter(onnx.parser.parse_model(text))
