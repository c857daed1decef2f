"""A pass of Olive (extra `olive`), which optimises models for devices by configuration.

from olive.workflows import run
from tse_onnx.adapters.olive import package_config

run({"input_model": …, "passes": {"tse": {"type": "TiledSqueezeExcite", "rows": 8}}}, package_config=package_config())
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from olive.hardware.accelerator import AcceleratorSpec
from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.package_config import OlivePackageConfig
from olive.passes import Pass
from olive.passes.pass_config import BasePassConfig, PassConfigParam

from tse_onnx.conversion.convert import convert
from tse_onnx.decision.plan import Plan
from tse_onnx.files.external import external_tensors
from tse_onnx.passes.blocks.tiling import Tiling

NAME = "TiledSqueezeExcite"


def package_config() -> dict[str, Any]:
    """Olive's own package configuration, with the pass in it."""
    own = json.loads(Path(OlivePackageConfig.get_default_config_path()).read_text(encoding="utf-8"))
    anything: dict[str, Any] = {
        "supported_providers": ["*"], "supported_accelerators": ["*"], "supported_precisions": ["*"],
        "supported_algorithms": [], "supported_quantization_encodings": [],
    }  # fmt: skip
    own["passes"][NAME] = {"module_path": f"{__name__}.{NAME}"} | anything
    return dict(own)


class TiledSqueezeExcite(Pass):
    """Tile the squeeze of every squeeze-and-excite block of an ONNX model, verified. Olive may search over `rows`.

    A failed check, or bad options, are raised as by `tse_onnx.convert`, and Olive's run then goes on without the pass
    or fails, as it is set.
    """

    @classmethod
    def _default_config(cls, accelerator_spec: AcceleratorSpec) -> dict[str, PassConfigParam]:
        def param(kind: Any, default: Any, description: str, **more: Any) -> PassConfigParam:
            return PassConfigParam(type_=kind, default_value=default, description=description, **more)

        return {
            "rows": param(int, 7, "Rows of a tile."),
            "divisors": param(bool, False, "Take the divisor of the map's height that is nearest to rows."),
            "plan": param(str, None, "A plan file in place of rows, as tse-onnx tune writes it."),
            "target": param(
                str, None, "A compiler or device that tse-onnx targets lists, or a .toml file with limits."
            ),
            "input_shapes": param(dict[str, list[int]], None, "Sizes of inputs with dynamic dimensions."),
            "verify": param(bool, True, "Check the result with onnxruntime."),
            "max_drift": param(float, None, "The largest absolute difference of an output that is accepted."),
        }

    def _run_for_config(
        self, model: ONNXModelHandler, config: type[BasePassConfig], output_model_path: str
    ) -> ONNXModelHandler:
        asked: Any = config
        given, target = Path(model.model_path), Path(resolve_onnx_path(output_model_path, Path(model.model_path).name))
        target.parent.mkdir(parents=True, exist_ok=True)
        plan = Plan(Tiling(asked.rows, divisors=asked.divisors)) if asked.plan is None else Plan.load(asked.plan)
        result = convert(
            given, target, plan=plan, target=asked.target, input_shapes=asked.input_shapes, verify=asked.verify,
            max_drift=asked.max_drift,
        )  # fmt: skip
        if any(external_tensors(result.model)):
            return ONNXModelHandler(model_path=str(target.parent), onnx_file_name=target.name)
        return ONNXModelHandler(model_path=str(target))
