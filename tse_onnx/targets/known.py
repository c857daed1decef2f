"""The targets that are known by name, each limit with what says so.

A limit stands here where somebody can look it up, or where it was measured: then its source says how. Limits age, so
each has the version that it is of. docs/targets.md says what is not here, and why.
"""

from __future__ import annotations

from collections.abc import Mapping

from tse_onnx.passes.targets.measures import OPERATOR, Number
from tse_onnx.passes.targets.target import Limit, Target

_CPU = "left to the CPU"
_WRONG = "computed wrong"
_RESIZES = ("Resize", "Upsample")

_ASCEND_POOLS: Mapping[str, str] = {
    "AveragePool": "https://www.hiascend.com/document/detail/zh/canncommercial/900/API/aolapi/atlasoxol_09_0022.html",
    "MaxPool": "https://www.hiascend.com/document/detail/zh/canncommercial/900/API/aolapi/atlasoxol_09_0094.html",
}
_CANN = "CANN 9.0.0"


def _ascend(pool: str, measure: str, most: Number, least: Number | None = None, effect: str = "") -> Limit:
    return Limit((pool,), measure, _ASCEND_POOLS[pool], _CANN, least, most, effect=effect)


def _ascend_pool(pool: str) -> tuple[Limit, ...]:
    return (
        _ascend(pool, "window", 255, 1, "left to the AI CPU"),
        _ascend(pool, "window_area", 256, effect="left to the AI CPU"),
        _ascend(pool, "stride", 63, effect="left to the AI CPU"),
        _ascend(pool, "width", 4096, 1),
        _ascend(pool, "opset", 18, 8),
    )


_ASCEND = Target(
    "ascend",
    "Huawei Ascend, by ATC",
    (*_ascend_pool("AveragePool"), _ascend("AveragePool", "counted_pads", 0), *_ascend_pool("MaxPool")),
)

_MDLA = "https://mediatek.gitlab.io/aiot/doc/aiot-dev-guide/master/sw/yocto/ml-guide/neuron-sdk/mt8195/"
_MDLA += "supported-operations/mdla-guide/mdla_guidelines_2_0.html"
_MDLA_2 = "MDLA 2.0, November 2026"
_MEDIATEK = Target(
    "mediatek-mdla",
    "MediaTek MDLA 2.0, by NeuroPilot",
    (
        Limit(("AveragePool",), "window", _MDLA, _MDLA_2, most=8, unless_global=True),
        Limit((), "rank", _MDLA, _MDLA_2, most=4),
        Limit((), "dimension", _MDLA, _MDLA_2, most=65535),
    ),
)

_RKNN = Target(
    "rknn",
    "Rockchip NPUs, by RKNN-Toolkit2",
    (
        Limit(
            ("AveragePool",), "uncounted_pads", "https://github.com/airockchip/rknn-toolkit2/issues/217",
            "November 2024, RV1106", most=0, effect="left to a CPU that has not got it",
        ),
        Limit(
            ("GlobalAveragePool",), "window", "https://github.com/rockchip-linux/rknn-toolkit2/issues/10",
            "January 2022, RK3566", most=128, effect="refused",
        ),
    ),
)  # fmt: skip

_EDGETPU = Target(
    "tflite-edgetpu",
    "Google Coral, by the Edge TPU Compiler",
    (
        Limit(
            _RESIZES, OPERATOR, "https://github.com/google-coral/edgetpu/issues/187", "Edge TPU Compiler 15.0",
            effect=_CPU,
        ),
    ),
)  # fmt: skip

_VELA_FILE = "https://pypi.org/project/ethos-u-vela/5.2.0/, ethosu/vela/tflite_supported_operators.py"
_VELA_RUN = "python -m benchmarks.vela, see docs/measurements.md"
_VELA = "Vela 5.2.0"
_ETHOS_U = Target(
    "ethos-u",
    "Arm Ethos-U55, by Vela",
    (
        Limit(
            ("AveragePool",), "row_step", _VELA_FILE, _VELA, 1, 3, effect="unrolled into many, or left to the CPU"
        ),
        Limit(("AveragePool", "MaxPool"), "row_window", _VELA_FILE, _VELA, 1, 256, effect=_CPU),
        Limit(("AveragePool", "MaxPool"), "window_area", _VELA_FILE, _VELA, 1, 65536, effect=_CPU),
        Limit(("AveragePool", "MaxPool"), "batch", _VELA_FILE, _VELA, 1, 1, effect=_CPU),
        Limit(("MaxPool",), "stride", _VELA_FILE, _VELA, 1, 3, effect=_CPU),
        Limit(_RESIZES, "scale", _VELA_FILE, _VELA, among=(1, 2, 4, 8), effect=_CPU),
        Limit(("Gather", "Expand"), OPERATOR, _VELA_RUN, _VELA, effect=_CPU),
        # A product over rows is a layer between two transposes; one over columns would be so for every pixel.
        Limit(
            ("MatMul",), "rank", _VELA_RUN, _VELA, most=3,
            effect="not tried: no way to TFLite here",
        ),
    ),
    "tiles save nothing here, since a cascade of layers ends at a map that two layers read: --squeeze recompute "
    "--cascade does",
)  # fmt: skip

_UNFED = f"{_WRONG}: what is fed is passed over"


def _run(tool: str, version: str, operators: tuple[str, ...], measure: str, effect: str, most: Number | None) -> Limit:
    """A limit that the runs of a tool have shown."""
    return Limit(
        operators,
        measure,
        f"python -m tests.runtimes {tool}, compared with onnxruntime 1.32",
        version,
        most=most,
        effect=effect,
    )


def _default(tool: str, version: str, effect: str = "refused when it is fed") -> Limit:
    """An input with a default is a constant to most tools; a gate of the frame before comes in by one."""
    return _run(tool, version, ("Mul", "QuantizeLinear"), "defaults", f"taken for a constant, {effect}", 0)


_PNNX = "converted by pnnx 20261020, run by ncnn, compared with onnxruntime 1.32"
_NCNN_VERSION = "ncnn 1.0.20261020"
_NCNN = Target(
    "ncnn",
    "ncnn, by pnnx",
    (
        Limit(("AveragePool",), "uneven_pads", _PNNX, _NCNN_VERSION, most=0, effect="refused"),
        Limit(("Gather",), OPERATOR, _PNNX, _NCNN_VERSION, effect=_WRONG),
        Limit(("Expand",), OPERATOR, _PNNX, _NCNN_VERSION, effect=f"{_WRONG}, or refused"),
        Limit(("CumSum",), OPERATOR, _PNNX, _NCNN_VERSION, effect="refused"),
        _run("ncnn", _NCNN_VERSION, ("ReduceMean",), "opset", _WRONG, 17),
        _default("ncnn", _NCNN_VERSION),
    ),
)


_OPENCV_4, _OPENCV_5 = "OpenCV 4.14.0", "OpenCV 5.0.0"
_OPENCV = Target(
    "opencv4",
    "OpenCV 4, its dnn module",
    (
        Limit(
            ("AveragePool",), "uneven_pads", "run by OpenCV's dnn, compared with onnxruntime 1.32", _OPENCV_4, most=0,
            effect=f"may be {_WRONG}",
        ),
        _run("opencv-4", _OPENCV_4, ("Expand",), OPERATOR, "refused from rank 5 on", None),
        _run("opencv-4", _OPENCV_4, ("Shape",), OPERATOR, "refused in a map of unknown size", None),
        _default("opencv-4", _OPENCV_4),
    ),
)  # fmt: skip
_OPENCV5 = Target(
    "opencv5",
    "OpenCV 5, its dnn module",
    (
        _run("opencv-5", _OPENCV_5, ("Reshape",), "least_rank", "refused behind some layers", 3),
        _default("opencv-5", _OPENCV_5),
    ),
)

_ORT_CPU = "https://github.com/microsoft/onnxruntime/pull/27375"
_ORT_CUDA = "https://github.com/microsoft/onnxruntime/pull/29631"
_ONNXRUNTIME = Target(
    "onnxruntime",
    "onnxruntime on a CPU, before February 2026",
    (
        Limit(
            ("AveragePool",), "uneven_counted_pads", _ORT_CPU, "before February 2026", most=0, effect=_WRONG, since=19
        ),
    ),
)  # fmt: skip
_CUDA = Target(
    "onnxruntime-cuda",
    "onnxruntime on CUDA, before July 2026",
    tuple(
        Limit(("AveragePool",), measure, _ORT_CUDA, "before July 2026", most=most, effect=_WRONG)
        for measure, most in (("uneven_pads", 0), ("overhang", 0), ("dilation", 1))
    ),
)

# What is in the table that onnxruntime carries, as onnx spells it; what is not there is run by another provider.
_COREML_FILE = "https://pypi.org/project/onnxruntime/1.32.0/, onnxruntime/tools/mobile_helpers/"
_COREML_FILE += "coreml_supported_mlprogram_ops.md"
_COREML_VERSION = "onnxruntime 1.32.0, MLProgram"
_COREML_TAKES = (
    "Add", "And", "ArgMax", "AveragePool", "Cast", "Ceil", "Clip", "Concat", "Conv", "ConvTranspose", "Cos",
    "DepthToSpace", "Div", "Elu", "Erf", "Exp", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
    "GridSample", "GroupNormalization", "HardSigmoid", "Identity", "InstanceNormalization", "LayerNormalization",
    "LeakyRelu", "MatMul", "Max", "MaxPool", "Mul", "PRelu", "Pow", "Reciprocal", "ReduceMax", "ReduceMean",
    "ReduceSum", "Relu", "Reshape", "Resize", "Round", "Shape", "Sigmoid", "Sin", "Slice", "Softmax", "Softplus",
    "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where", "com.microsoft::FusedConv",
    "com.microsoft::QuickGelu",
)  # fmt: skip
_COREML = Target(
    "coreml",
    "Core ML, by onnxruntime's provider",
    (
        Limit((), OPERATOR, _COREML_FILE, _COREML_VERSION, effect=_CPU, except_for=_COREML_TAKES),
        Limit(
            ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"), "rank", _COREML_FILE, _COREML_VERSION,
            4, 4, effect=_CPU,
        ),
    ),
)  # fmt: skip

_FINN_FILE = "https://github.com/Xilinx/finn/blob/6b3cb9ced3a321609cb53f2f232e073241cf1ed3/src/finn/transformation/"
_FINN_FILE += "fpgadataflow/convert_to_hw_layers.py"
_FINN_VERSION = "commit 6b3cb9c"
_FINN = Target(
    "finn",
    "AMD FINN",
    (
        Limit(
            ("AveragePool",), OPERATOR, _FINN_FILE, _FINN_VERSION,
            effect="no layer is made of it, but of QuantAvgPool2d, whose windows are square",
        ),
        Limit(
            ("CumSum", "Expand", "ReduceMean", "Slice", "Split"), OPERATOR, _FINN_FILE, _FINN_VERSION,
            effect="no layer is made of it",
        ),
        Limit(_RESIZES, "rank", _FINN_FILE, _FINN_VERSION, 4, 4, effect="refused"),
        Limit(_RESIZES, "scale", _FINN_FILE, _FINN_VERSION, least=1, effect="refused"),
    ),
)  # fmt: skip

_HLS4ML_FILE = "https://pypi.org/project/hls4ml/1.3.0/, hls4ml/converters/onnx"
_HLS4ML_VERSION = "hls4ml 1.3.0, qonnx 1.0.0"
_HLS4ML_TAKES = (
    "Add", "Average", "AveragePool", "BatchNormalization", "Concat", "Conv", "Div", "Dropout", "Elu", "Flatten",
    "Gemm",  # which qonnx makes a MatMul
    "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul", "PRelu",
    "Pad", "Relu", "Reshape", "Resize", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "Sub", "Sum", "Tanh",
    "ThresholdedRelu", "Transpose", "qonnx.custom_op.channels_last::BatchNormalization",
    "qonnx.custom_op.channels_last::Conv", "qonnx.custom_op.channels_last::MaxPool",
    "qonnx.custom_op.general::BipolarQuant", "qonnx.custom_op.general::IntQuant", "qonnx.custom_op.general::Quant",
)  # fmt: skip
_HLS4ML = Target(
    "hls4ml",
    "hls4ml, from ONNX by qonnx",
    (
        Limit((), OPERATOR, _HLS4ML_FILE, _HLS4ML_VERSION, effect="refused", except_for=_HLS4ML_TAKES),
        Limit(
            ("AveragePool",), OPERATOR, _HLS4ML_FILE, _HLS4ML_VERSION,
            effect="refused, unless it is made channels-last, as qonnx does not",
        ),
        Limit(
            _RESIZES, OPERATOR, "python -m tests.runtimes hls4ml, compared with onnxruntime 1.32", _HLS4ML_VERSION,
            effect="refused where its region of interest is left out",
        ),
    ),
)  # fmt: skip

_TENSORRT_PAGE = "https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md"
_TENSORRT_VERSION = "TensorRT 10.15"
_TENSORRT_REFUSES = (
    "AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad",
    "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger", "DFT", "Det", "DynamicQuantizeLinear", "ImageDecoder",
    "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial", "NegativeLogLikelihoodLoss",
    "Optional", "OptionalGetElement", "OptionalHasElement", "QLinearConv", "QLinearMatMul", "RegexFullMatch",
    "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
    "SequenceMap", "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat", "StringNormalizer", "StringSplit",
    "TfIdfVectorizer", "Unique",
)  # fmt: skip
_TENSORRT = Target(
    "tensorrt",
    "NVIDIA TensorRT, by its ONNX parser",
    (
        Limit((), "opset", _TENSORRT_PAGE, _TENSORRT_VERSION, 9, 24),
        Limit(("AveragePool", "MaxPool"), "rank", _TENSORRT_PAGE, _TENSORRT_VERSION, 4, 5, effect="refused"),
        Limit(
            ("AveragePool", "LpPool", "MaxPool"), "dilation", _TENSORRT_PAGE, _TENSORRT_VERSION, most=1,
            effect="refused",
        ),
        Limit(_TENSORRT_REFUSES, OPERATOR, _TENSORRT_PAGE, _TENSORRT_VERSION, effect="refused"),
    ),
)  # fmt: skip

_HAILO = Target(
    "hailo",
    "Hailo, by the Dataflow Compiler",
    (),
    "no limit of it is public; its compiler tiles squeezes itself, which --alls tells it",
)
_OPENVINO_VERSION = "OpenVINO 2026.4.1"
_OPENVINO = Target(
    "openvino",
    "OpenVINO, on a CPU",
    (
        _default("openvino", _OPENVINO_VERSION),
        _run(
            "openvino", _OPENVINO_VERSION, ("QuantizeLinear",), "constant",
            "refused where a Mul reads it: frozen gates", 0,
        ),
    ),
)  # fmt: skip
_TRACT = Target("tract", "tract", (_default("tract", "tract 0.23.9", _UNFED),))
_TVM = Target("tvm", "TVM, by Relax", (_default("tvm", "TVM 0.27.0"),))
_IREE = Target(
    "iree",
    "IREE, on a CPU",
    (_run("iree", "IREE 3.13.0", ("AveragePool",), "overhang", _WRONG, 0), _default("iree", "IREE 3.13.0")),
)
_MNN = Target("mnn", "MNN, on a CPU", (_default("mnn", "MNN 3.6.1", _UNFED),))
_WEB = Target(
    "onnxruntime-web", "onnxruntime-web, by WebAssembly", (_default("onnxruntime-web", "onnxruntime-web 1.30.0"),)
)
_QONNX = Target("qonnx", "qonnx, its executor", (_default("qonnx", "qonnx 1.0.0"),))
_ONNX2TORCH_VERSION = "onnx2torch 1.5.15"
_ONNX2TORCH = Target(
    "onnx2torch",
    "torch, by onnx2torch",
    (
        _run("onnx2torch", _ONNX2TORCH_VERSION, ("AveragePool",), "uneven_pads", "refused", 0),
        _run("onnx2torch", _ONNX2TORCH_VERSION, ("ReduceMean", "Resize", "Split"), "opset", "refused", 17),
        _run("onnx2torch", _ONNX2TORCH_VERSION, ("AveragePool",), "opset", "refused", 18),
        _run("onnx2torch", _ONNX2TORCH_VERSION, ("CumSum",), OPERATOR, f"{_WRONG} where reverse is not written", None),
        _run("onnx2torch", _ONNX2TORCH_VERSION, ("Conv",), "constant_nodes", "refused: no initializer", 0),
        _default("onnx2torch", _ONNX2TORCH_VERSION),
    ),
)

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        _ASCEND, _COREML, _ETHOS_U, _FINN, _HAILO, _HLS4ML, _IREE, _MEDIATEK, _MNN, _NCNN, _ONNX2TORCH, _CUDA, _WEB,
        _ONNXRUNTIME, _OPENCV, _OPENCV5, _OPENVINO, _QONNX, _RKNN, _TENSORRT, _EDGETPU, _TRACT, _TVM,
    )
}  # fmt: skip
"""What `--target` knows by name."""
