"""Whatever a model carries that is none of our business is in the converted model as it was, and in the restored one.

Each case puts a token into a place of its own. A token is found again by its bytes, whatever the field is called.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tse_onnx
from tests.graphs import se_model

TOKEN = "survives-4e1f"
UNKNOWN = 5555  # a field that no release of onnx has


def unknown(message):
    """Give a message a field from a future release."""
    key, payload = UNKNOWN << 3 | 2, TOKEN.encode()
    varint = bytes([key & 0x7F | 0x80, key >> 7 & 0x7F | 0x80, key >> 14]) + bytes([len(payload)])
    message.MergeFromString(varint + payload)


def fields(model):
    model.producer_name = model.producer_version = model.domain = model.doc_string = TOKEN
    model.graph.name = model.graph.doc_string = TOKEN


def metadata(model):
    graph = model.graph
    kept = [node for node in graph.node if node.op_type in ("Conv", "Neg", "LeakyRelu")]
    for message in (model, graph, *kept, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        message.metadata_props.add(key=TOKEN, value=TOKEN)


def doc_strings(model):
    graph = model.graph
    for message in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        if getattr(message, "op_type", "") not in ("GlobalAveragePool", "Mul"):
            message.doc_string = TOKEN
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "LeakyRelu":
                attribute.doc_string = TOKEN


def domains(model):
    model.opset_import.add(domain=TOKEN, version=77)
    model.opset_import.add(domain="com.microsoft", version=1)


def functions(model):
    """Two overloads of a function, one of them called, with everything that a function has."""
    model.ir_version = max(model.ir_version, 10)
    model.opset_import.add(domain="local", version=1)
    for overload, op in (("", "Identity"), (TOKEN, "Neg")):
        function = model.functions.add(name="twice", domain="local", overload=overload, doc_string=TOKEN)
        function.input.append("a")
        function.output.append("b")
        function.attribute.append("unused")
        function.attribute_proto.append(helper.make_attribute("with_default", TOKEN))
        function.opset_import.add(domain="", version=17)
        function.node.add(op_type=op, input=["a"], output=["b"], name=TOKEN)
        function.metadata_props.add(key=TOKEN, value=TOKEN)
        function.value_info.add(name=TOKEN)
    last = model.graph.node[-1]
    model.graph.node.add(op_type="twice", domain="local", overload=TOKEN, input=[last.output[0]], output=["again"])
    model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, None))
    model.graph.output[-1].type.CopyFrom(model.graph.output[0].type)


def quantisation(model):
    for name in ("h", TOKEN):
        noted = model.graph.quantization_annotation.add(tensor_name=name)
        noted.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=TOKEN)


def sparse(model):
    values = numpy_helper.from_array(np.ones(2, np.float32), TOKEN)
    indices = numpy_helper.from_array(np.array([1, 5], np.int64), TOKEN + "_indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [8]))


def training(model):
    info = model.training_info.add()
    info.initialization.name = info.algorithm.name = TOKEN
    info.algorithm.node.add(op_type="Identity", input=["y"], output=[TOKEN], name=TOKEN)
    info.update_binding.add(key="w1", value=TOKEN)


def devices(model):
    model.ir_version = max(model.ir_version, 11)
    configuration = model.configuration.add(name=TOKEN, num_devices=2)
    configuration.device.extend(["a", TOKEN])
    for node in model.graph.node:
        if node.op_type in ("Conv", "Neg", "LeakyRelu"):
            node.device_configurations.add(configuration_id=TOKEN, pipeline_stage=1)


def unused(model):
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), TOKEN))
    model.graph.value_info.append(helper.make_tensor_value_info(TOKEN, TensorProto.FLOAT, [3]))


def dimensions(model):
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = TOKEN
        value.type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
        value.type.denotation = TOKEN


def future(model):
    graph = model.graph
    for message in (model, graph, *model.opset_import, *graph.initializer, *graph.input, *graph.output):
        unknown(message)
    for node in graph.node:
        if node.op_type in ("Conv", "Neg", "LeakyRelu"):
            unknown(node)
            for attribute in node.attribute:
                unknown(attribute)


CASES = [fields, metadata, doc_strings, domains, functions, quantisation, sparse, training, devices, unused, dimensions,
         future]  # fmt: skip
# An IR version that older releases of onnxruntime refuse: it is converted all the same, without their leave.
UNVERIFIED = {devices}


def marked(case, **options):
    model = se_model(stated=True, **options)
    if case is devices and not hasattr(model, "configuration"):
        pytest.skip("this onnx does not know them")
    case(model)
    return model


@pytest.mark.parametrize("way", ["object", "file"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_is_there_after_a_conversion_and_after_the_way_back(case, way, tmp_path):
    model = marked(case)
    data = model.SerializeToString()
    tokens = data.count(TOKEN.encode())
    assert tokens
    if way == "object":
        converted = tse_onnx.convert(model, verify=case not in UNVERIFIED, expect=1).model.SerializeToString()
        assert model.SerializeToString() == data
        restored = tse_onnx.restore(onnx.ModelProto.FromString(converted)).model.SerializeToString()
    else:
        (tmp_path / "in.onnx").write_bytes(data)
        tse_onnx.convert(tmp_path / "in.onnx", tmp_path / "out.onnx", verify=False, expect=1)
        converted = (tmp_path / "out.onnx").read_bytes()
        tse_onnx.restore(tmp_path / "out.onnx", tmp_path / "back.onnx")
        restored = (tmp_path / "back.onnx").read_bytes()
    assert converted != data
    assert converted.count(TOKEN.encode()) >= tokens
    assert restored == data


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_model_of_all_versions_keeps_them(case):
    model = marked(case)
    model.model_version = 2**40
    result = tse_onnx.convert(model, verify=False, expect=1)
    assert (result.model.ir_version, result.model.model_version) == (model.ir_version, 2**40)
    assert list(result.model.opset_import) == list(model.opset_import)


def test_what_the_replaced_nodes_carried_comes_back():
    """The squeeze and the scale go; what they had is remembered with what takes their place."""
    model = se_model(stated=True)
    for node in model.graph.node:
        node.doc_string = TOKEN
        node.metadata_props.add(key=TOKEN, value=TOKEN)
        unknown(node)
    result = tse_onnx.convert(model, verify=False, expect=1)
    assert tse_onnx.restore(result.model).model.SerializeToString() == model.SerializeToString()


def test_a_token_that_is_lost_would_be_missed():
    """The counting sees a single one go."""
    model = marked(metadata)
    data = model.SerializeToString()
    del model.graph.node[0].metadata_props[:]
    assert model.SerializeToString().count(TOKEN.encode()) < data.count(TOKEN.encode())
