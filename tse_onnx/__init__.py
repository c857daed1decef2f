"""Tiled squeeze-and-excite for ONNX models.

    import tse_onnx

    result = tse_onnx.convert("in.onnx", "out.onnx", rows=7)
    print(result.report.buffering.totals.reduction)

`find_blocks` says which blocks a model has, `buffering` what they hold back, `convert` rewrites and verifies them;
`restore` is the way back. `stream` says what every tensor of a network holds while its input streams in row by
row. Everything that is raised on purpose is a `TseError`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tse_onnx.version import VERSION as __version__

if TYPE_CHECKING:
    from tse_onnx.conversion.convert import ConvertResult, buffering, convert, find_blocks
    from tse_onnx.conversion.equalise import EqualiseResult, equalise
    from tse_onnx.conversion.exact import exact_plan
    from tse_onnx.conversion.fold import FoldResult, fold, unfold
    from tse_onnx.conversion.plan_for import plan_for
    from tse_onnx.conversion.quality_gates import Judgement, QualityGates
    from tse_onnx.conversion.report import Report
    from tse_onnx.conversion.restore import RestoreResult, restore
    from tse_onnx.conversion.verdict import Verdict
    from tse_onnx.costs.array import Array
    from tse_onnx.costs.convention import Convention
    from tse_onnx.costs.cost import cost
    from tse_onnx.costs.cycles import Cost, LayerCost
    from tse_onnx.costs.layer import Layer, Profile
    from tse_onnx.costs.profile import profile
    from tse_onnx.data.choice import Data
    from tse_onnx.data.preprocess import Preprocess
    from tse_onnx.decision.buffering import BlockBuffering, Buffering, Totals
    from tse_onnx.decision.decision import Decision
    from tse_onnx.decision.explanation import Story, explain
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection
    from tse_onnx.difference.diff import BlockChange, Diff, FigureChange, diff
    from tse_onnx.distillation.distil import distil
    from tse_onnx.distillation.result import DistilResult
    from tse_onnx.errors import CheckFailed, DataError, ModelError, TseError, UsageError
    from tse_onnx.evaluation.correlation import BlockCorrelation, Correlations, TileCorrelation, correlate
    from tse_onnx.evaluation.evaluate import evaluate
    from tse_onnx.evaluation.first import first_gates
    from tse_onnx.evaluation.metric import Measured, Predicted
    from tse_onnx.evaluation.result import Evaluation, ModelScores, StageScores, StreamScores
    from tse_onnx.evaluation.verify import Proof, verify
    from tse_onnx.finetuning.finetune import finetune
    from tse_onnx.finetuning.result import FinetuneResult
    from tse_onnx.installation.doctor import CheckUp, doctor
    from tse_onnx.layerwise.noise import noise
    from tse_onnx.layerwise.result import BlockNoise, Joint, LayerNoise, Level, Noise
    from tse_onnx.passes.blocks.block import Block, NodeRef
    from tse_onnx.passes.blocks.frozen import Frozen
    from tse_onnx.passes.blocks.previous import Previous
    from tse_onnx.passes.blocks.recompute import Recompute
    from tse_onnx.passes.blocks.tiling import Calibration, Tiling
    from tse_onnx.passes.reasons import Refusal
    from tse_onnx.passes.targets.target import Limit, Target
    from tse_onnx.passes.targets.violations import Violation
    from tse_onnx.quantisation.correction import Corrected
    from tse_onnx.quantisation.quantise import quantise
    from tse_onnx.quantisation.result import QuantisedLayer, QuantiseResult
    from tse_onnx.runtime.scores import Accuracy, Score
    from tse_onnx.streaming.depths.held import Held, Sums
    from tse_onnx.streaming.depths.result import Buffer, Dataflow, Payoff, StageFlow
    from tse_onnx.streaming.depths.streamed import stream
    from tse_onnx.streaming.network.machine import Machine
    from tse_onnx.targets.check import TargetCheck, check
    from tse_onnx.tuning.choices import Menu
    from tse_onnx.tuning.result import Sensitivity, TuneResult
    from tse_onnx.tuning.search import sensitivity, tune
    from tse_onnx.verification.result import BlockCheck, Check, Drift, Verification

# Where each public name lives. They are imported on first use: importing onnx and onnxruntime takes longer than much
# of what a program may want from this package.
_HOMES = {
    "tse_onnx.conversion.convert": ("ConvertResult", "buffering", "convert", "find_blocks"),
    "tse_onnx.conversion.equalise": ("EqualiseResult", "equalise"),
    "tse_onnx.conversion.exact": ("exact_plan",),
    "tse_onnx.conversion.fold": ("FoldResult", "fold", "unfold"),
    "tse_onnx.conversion.inspect": ("Inspection", "inspect"),
    "tse_onnx.conversion.plan_for": ("plan_for",),
    "tse_onnx.data.choice": ("Data",),
    "tse_onnx.data.preprocess": ("Preprocess",),
    "tse_onnx.costs.array": ("Array",),
    "tse_onnx.costs.convention": ("Convention",),
    "tse_onnx.costs.cost": ("cost",),
    "tse_onnx.costs.cycles": ("Cost", "LayerCost"),
    "tse_onnx.costs.layer": ("Layer", "Profile"),
    "tse_onnx.costs.profile": ("profile",),
    "tse_onnx.difference.diff": ("BlockChange", "Diff", "FigureChange", "diff"),
    "tse_onnx.distillation.distil": ("distil",),
    "tse_onnx.distillation.result": ("DistilResult",),
    "tse_onnx.evaluation.correlation": ("BlockCorrelation", "Correlations", "TileCorrelation", "correlate"),
    "tse_onnx.evaluation.evaluate": ("evaluate",),
    "tse_onnx.evaluation.first": ("first_gates",),
    "tse_onnx.evaluation.result": ("Evaluation", "ModelScores", "StageScores", "StreamScores"),
    "tse_onnx.evaluation.verify": ("Proof", "verify"),
    "tse_onnx.evaluation.metric": ("Measured", "Predicted"),
    "tse_onnx.finetuning.finetune": ("finetune",),
    "tse_onnx.finetuning.result": ("FinetuneResult",),
    "tse_onnx.layerwise.noise": ("noise",),
    "tse_onnx.layerwise.result": ("BlockNoise", "Joint", "LayerNoise", "Level", "Noise"),
    "tse_onnx.quantisation.correction": ("Corrected",),
    "tse_onnx.quantisation.quantise": ("quantise",),
    "tse_onnx.quantisation.result": ("QuantiseResult", "QuantisedLayer"),
    "tse_onnx.runtime.scores": ("Accuracy", "Score"),
    "tse_onnx.decision.buffering": ("BlockBuffering", "Buffering", "Totals"),
    "tse_onnx.errors": ("CheckFailed", "DataError", "ModelError", "TseError", "UsageError"),
    "tse_onnx.passes.blocks.block": ("Block", "NodeRef"),
    "tse_onnx.passes.blocks.frozen": ("Frozen",),
    "tse_onnx.passes.blocks.previous": ("Previous",),
    "tse_onnx.passes.blocks.recompute": ("Recompute",),
    "tse_onnx.passes.reasons": ("Refusal",),
    "tse_onnx.passes.targets.target": ("Limit", "Target"),
    "tse_onnx.passes.targets.violations": ("Violation",),
    "tse_onnx.passes.blocks.tiling": ("Calibration", "Tiling"),
    "tse_onnx.decision.decision": ("Decision",),
    "tse_onnx.decision.explanation": ("Story", "explain"),
    "tse_onnx.installation.doctor": ("CheckUp", "doctor"),
    "tse_onnx.decision.plan": ("Plan",),
    "tse_onnx.conversion.quality_gates": ("Judgement", "QualityGates"),
    "tse_onnx.conversion.report": ("Report",),
    "tse_onnx.conversion.restore": ("RestoreResult", "restore"),
    "tse_onnx.conversion.verdict": ("Verdict",),
    "tse_onnx.decision.selection": ("Selection",),
    "tse_onnx.streaming.network.machine": ("Machine",),
    "tse_onnx.streaming.depths.streamed": ("stream",),
    "tse_onnx.streaming.depths.held": ("Held", "Sums"),
    "tse_onnx.streaming.depths.result": ("Buffer", "Dataflow", "Payoff", "StageFlow"),
    "tse_onnx.streaming.depths.stops": ("Stop",),
    "tse_onnx.targets.check": ("TargetCheck", "check"),
    "tse_onnx.tuning.choices": ("Menu",),
    "tse_onnx.tuning.result": ("Sensitivity", "TuneResult"),
    "tse_onnx.tuning.search": ("sensitivity", "tune"),
    "tse_onnx.verification.result": ("BlockCheck", "Check", "Drift", "Verification"),
}
# What had another name than its command, until it is taken away in a version that may break.
_RENAMED = {"dataflow": "stream"}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Accuracy", "Array", "Block", "BlockBuffering", "BlockChange", "BlockCheck", "BlockCorrelation", "BlockNoise",
    "Buffer", "Buffering", "Calibration", "Check", "CheckFailed", "CheckUp", "Convention", "ConvertResult", "Corrected",
    "Correlations", "Cost", "Data", "DataError", "Dataflow", "Decision", "Diff", "DistilResult", "Drift",
    "EqualiseResult", "Evaluation", "FigureChange", "FinetuneResult", "FoldResult", "Frozen", "Held", "Inspection",
    "Joint", "Judgement", "Layer", "LayerCost", "LayerNoise", "Level", "Limit", "Machine", "Measured", "Menu",
    "ModelError", "ModelScores", "NodeRef", "Noise", "Payoff", "Plan", "Predicted", "Preprocess", "Previous", "Profile",
    "Proof", "QualityGates", "QuantiseResult", "QuantisedLayer", "Recompute", "Refusal", "Report", "RestoreResult",
    "Score", "Selection", "Sensitivity", "StageFlow", "StageScores", "Stop", "Story", "StreamScores", "Sums", "Target",
    "TargetCheck", "TileCorrelation", "Tiling", "Totals", "TseError", "TuneResult", "UsageError", "Verdict",
    "Verification", "Violation", "__version__", "buffering", "check", "convert", "correlate", "cost", "diff", "distil",
    "doctor", "equalise", "evaluate", "exact_plan", "explain", "find_blocks", "finetune", "first_gates", "fold",
    "inspect", "noise", "plan_for", "profile", "quantise", "restore", "sensitivity", "stream", "tune", "unfold",
    "verify",
]  # fmt: skip


def _face_of(result: Any) -> Any:
    """How a result shows itself: the views are above the results."""
    return importlib.import_module("tse_onnx.report.html.face").face_of(result)


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        import warnings

        new = _RENAMED[name]
        warnings.warn(f"tse_onnx.{name} is called tse_onnx.{new} now", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(_HOME[new]), new)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
