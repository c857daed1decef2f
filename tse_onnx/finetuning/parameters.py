"""Which initializers of a network are trained: groups of them, and names or patterns of names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from onnx import ModelProto, TensorProto

from tse_onnx.distillation.excites import excites_of
from tse_onnx.errors import UsageError
from tse_onnx.passes.graph.index import element_count
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting
from tse_onnx.tuning.choices import Combination
from tse_onnx.tuning.network import Network

EXCITE, NORMS, ALL = "excite", "norms", "all"
GROUPS = (EXCITE, NORMS, ALL)

_SCALED = dict.fromkeys(
    ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"), (1, 2)
)
_BIASED = {"Conv": (2,), "ConvTranspose": (2,), "FusedConv": (2,)}
_LINEAR = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "FusedConv": (1, 2), "Gemm": (0, 1, 2), "FusedGemm": (0, 1, 2),
    "MatMul": (0, 1), "FusedMatMul": (0, 1), "PRelu": (1,),
}  # fmt: skip
_PLACES: Mapping[str, Mapping[str, Collection[int]]] = {
    NORMS: {**_SCALED, **_BIASED},
    ALL: {**_SCALED, **_LINEAR},
}
"""Where operators read what is trained. Exporters fold norms into the convolutions before them, of which the biases are
what was the offset; means and variances are no parameters. What is added or multiplied elsewhere may be anything, the
anchors of a detector for one: such a constant is trained where it is named, and a bias behind a MatMul with all."""


def chosen(
    train: Collection[str], model: ModelProto, network: Network, combination: Combination
) -> tuple[tuple[str, ...], frozenset[str]]:
    """The initializers of `model`, run by `network`, that are trained, in its order, and those of them that were asked
    for by nothing but a group.

    Raises `UsageError` where there are none, and for a name or pattern that no initializer in single precision bears.
    """
    single = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    read = {name for node in model.graph.node for name in node.input}
    grouped, named = set[str](), set[str]()
    for word in train:
        if word == EXCITE:
            grouped |= {name for one in excites_of(model, network, combination) for name in one.weights}
        elif word in _PLACES:
            many = (name for name in _at(word, model) if name in single and element_count(single[name].dims) > 1)
            grouped |= set(many)
        else:
            named |= _matching(word, [name for name in single if name in read])
    found = tuple(name for name in single if name in grouped or name in named)
    if not found:
        raise UsageError(
            f"the model has no weights in single precision for {setting('train', ' '.join(train))}: none can be trained"
        )
    return found, frozenset(grouped - named)


def _at(group: str, model: ModelProto) -> Iterable[str]:
    places, makers = _PLACES[group], {}
    for node in model.graph.node:
        kind = operator(node)
        makers.update(dict.fromkeys(node.output, kind))
        yield from (node.input[place] for place in places.get(kind, ()) if place < len(node.input))
        if group == ALL and kind == "Add" and any("MatMul" in makers.get(name, "") for name in node.input):
            yield from node.input


def _matching(word: str, names: Collection[str]) -> set[str]:
    """The names that a pattern fits, `*` standing for anything."""
    if found := {name for name in names if name == word or fnmatchcase(name, word)}:
        return found
    near = difflib.get_close_matches(word, [*GROUPS, *names], 1, 0)
    nearest = f"; the nearest is {quoted(near[0])}" if near else ""
    raise UsageError(f"no initializer in single precision is called {quoted(word)}{nearest}")
