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
    ),
    "tiles save nothing here, since a cascade of layers ends at a map that two layers read: --squeeze recompute "
    "--cascade does",
)  # fmt: skip

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
    ),
)

_OPENCV_RUN = "run by OpenCV's dnn, compared with onnxruntime 1.32"
_OPENCV = Target(
    "opencv4",
    "OpenCV 4, its dnn module",
    (
        Limit(("AveragePool",), "uneven_pads", _OPENCV_RUN, "OpenCV 4.14.0", most=0, effect=f"may be {_WRONG}"),
    ),
)  # fmt: skip

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

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (_ASCEND, _ETHOS_U, _MEDIATEK, _NCNN, _CUDA, _ONNXRUNTIME, _OPENCV, _RKNN, _EDGETPU)
}
"""What `--target` knows by name."""
