"""The library's call: the numbers of a plan, trained against the original."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tse_onnx.conversion.verdict import GATE, MIN
from tse_onnx.data.choice import Data
from tse_onnx.data.given import DataLike
from tse_onnx.data.samples import Samples
from tse_onnx.decision.analysis import input_types
from tse_onnx.decision.decide import decide
from tse_onnx.decision.decision import Convert
from tse_onnx.decision.finetuned import retrained
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.trained import fingerprints, need_trained
from tse_onnx.distillation.excites import Excite, excites_of
from tse_onnx.distillation.judging import better, judged
from tse_onnx.distillation.result import DistilResult
from tse_onnx.distillation.settings import Options, Settings
from tse_onnx.errors import UsageError
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.installation.extras import need
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.blocks.tiling import RUNNING, Tiling
from tse_onnx.passes.reasons import quoted
from tse_onnx.timing import phase
from tse_onnx.tuning.choices import Combination, combined
from tse_onnx.tuning.figures import figure_of, verdict_on
from tse_onnx.tuning.network import Network
from tse_onnx.tuning.search import halves
from tse_onnx.tuning.store import identity, model_identity
from tse_onnx.version import VERSION

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from tse_onnx.distillation.pair import Pair
    from tse_onnx.distillation.training import Trained

_log = logging.getLogger(__name__)

_WEIGHTS = 0.1
"""How far weights move to how far slopes and offsets do: a hundred times as many numbers fit what is seen of samples
rather than the samples."""


def distil(model: ModelLike, data: DataLike | Data, plan: Plan, **options: Unpack[Options]) -> DistilResult:
    """`plan` with slopes and offsets of its running squeezes trained on `data`, so that the outputs are as near as they
    can be to those of `model` itself. No labels are used. With `train=["excite"]` the weights of the excites are
    trained as well, and the plan is for the model in the result, which has them.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph`; `data` a path, or a `Data` that says how to read what is
    there; the options are those of `tse_onnx.distillation.settings.Options`. Needs torch, which runs both networks.

    The plan that was given is judged as well, and kept where the trained one is no better. Raises `UsageError` where
    there is nothing to train or torch is missing, `ModelError` for operators without a gradient, `DataError`.
    """
    settings = Settings(**options)
    need("distil")
    given = data if isinstance(data, Data) else Data(data)
    source = open_model(model)
    need_trained(plan, source)
    network = _network(source, settings)
    combination = _combination(network, plan, settings)
    excites = excites_of(source.model, network, combination) if settings.excites else ()
    samples = given.samples(input_types(network.analysis))
    # As tune divides them: what a plan was chosen by would call the numbers that it came with the best there are.
    to_train, others = halves(samples, settings.held_out, given.seed)
    to_judge, to_stop = halves(others, settings.stop, given.seed)
    what = identity(
        model=model_identity(network.source), samples=samples.digest(), plan=plan.dumps(), seed=given.seed,
        shapes={key: list(dims) for key, dims in network.analysis.bound.items()}, kinds=sorted(settings.kinds),
        settings=[settings.epochs, settings.views, settings.step, settings.rate, settings.held_out, settings.stop],
        train=sorted(settings.train),
        version=VERSION,
    )  # fmt: skip
    with phase(_log, "training"):
        pair, trained = _trained(network, combination, excites, to_train, to_stop, settings, given.seed, what)
    choices = dict(combination)
    choices |= {
        knob.block: dataclasses.replace(knob.tiling, calibration=knob.calibration(trained.state)) for knob in pair.knobs
    }
    numbers = pair.weights.arrays(trained.state)
    made = retrained(source.model, numbers) if excites else source.model
    weights = fingerprints(tensor for tensor in made.graph.initializer if tensor.name in numbers)
    trained_network = _network(dataclasses.replace(source, model=made), settings) if excites else network
    opened = network.together(combination), trained_network.together(combined(choices.items()))
    before, after = judged(network, opened, to_judge, settings.say)
    improved = trained.best > 0 and better(after, before)
    machine, shapes, axis = settings.hardware, settings.input_shapes, 1 if plan.axis == 1 else 0
    gate, least = (figure_of(name, network, machine, shapes, axis) for name in (GATE, MIN))
    taken = combined(choices.items()) if improved else combination
    return DistilResult(
        dataclasses.replace(plan, choices={**plan.choices, **choices}, weights={**plan.weights, **weights})
        if improved
        else plan,
        improved,
        tuple(dict.fromkeys([*(knob.block for knob in pair.knobs), *(excite.block for excite in excites)])),
        sum(knob.numbers for knob in pair.knobs) + pair.weights.numbers,
        before,
        after,
        trained.start,
        trained.epochs,
        trained.best,
        to_train.text,
        to_stop.text,
        to_judge.text,
        verdict_on(taken, gate, least, machine, after if improved else before, to_judge.text),
        (made if improved else source.model) if excites else None,
        tuple(excite.block for excite in excites),
    )


def _network(source: Source, settings: Settings) -> Network:
    return Network(source, settings.input_shapes, settings.kinds, settings.threads)


def _combination(network: Network, plan: Plan, settings: Settings) -> Combination:
    """What the plan says of each block. Raises `UsageError` where it has nothing to train, or fits no block."""
    known = {block.name for block in network.analysis.blocks}
    for name in plan.choices:
        if name not in known:
            raise UsageError(f"the plan names {quoted(name)}, which is no block of the model")
    decisions = decide(network.analysis.parts, plan, network.source.opset)
    found = combined((one.block.name, one.choice) for one in decisions if isinstance(one, Convert))
    if carried := next((name for name, choice in found if isinstance(choice, Previous)), ""):
        raise UsageError(
            f"the plan scales {quoted(carried)} by the gates of the frame before, which single samples have not: keep "
            "its mean while the others are trained"
        )
    running = any(isinstance(choice, Tiling) and choice.squeeze == RUNNING for _, choice in found)
    if not running and not settings.excites:
        raise UsageError(
            "the plan has no running squeeze, whose slopes and offsets could be trained: "
            'give a block { rows = 3, squeeze = "running" }, or take a plan of tse-onnx tune'
        )
    return found


def _trained(
    network: Network,
    combination: Combination,
    excites: Sequence[Excite],
    samples: Samples,
    stop: Samples,
    settings: Settings,
    seed: int,
    what: str,
) -> tuple[Pair, Trained]:
    import torch

    from tse_onnx.distillation.checkpoint import Checkpoint
    from tse_onnx.distillation.knobs import Knob
    from tse_onnx.distillation.pair import Pair
    from tse_onnx.distillation.training import Trainer

    if settings.threads:
        torch.set_num_threads(settings.threads)
    blocks = {block.name: block for block in network.blocks}
    knobs = [
        knob
        for name, choice in combination
        if network.cuttable(name) and (knob := Knob.of(blocks[name], choice)) is not None
    ]
    if not knobs and not excites:
        raise UsageError(
            "the running squeezes of the plan stand in bodies or functions, or see whole maps: none can be trained"
        )
    turned: dict[str, Choice | None] = {**dict(combination), **{knob.block: knob.plain for knob in knobs}}
    changed = network.changed(combined(turned.items()), means="matmul")  # one mean for each number to train
    names = [name for excite in excites for name in excite.weights]
    pair = Pair(network, changed, knobs, names, samples.batch if samples.fixed else None, _WEIGHTS)
    pair.need_same(network, samples)
    path = settings.checkpoint
    checkpoint = None if path is None else Checkpoint(Path(path), what)
    return pair, Trainer(pair, samples, stop, settings, seed).trained(checkpoint)
