"""What may become of a block, as data: one class for each choice, and one spelling that every other comes from.

A choice is a frozen dataclass. Its `fields` are what the record in the nodes, plan files, JSON reports and the keys of
kept measurements are made from; `passes/blocks/choices.py` lists the classes and reads the fields back. On one block a
choice comes to a form (`settle`): the geometry of a tiling on the block's map, the numbers of a gate. `passes/lowering`
knows how a form is written in ONNX.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from tse_onnx.passes.reasons import quoted

if TYPE_CHECKING:
    from tse_onnx.passes.blocks.block import Convertible, Pooling, Tiled
    from tse_onnx.passes.blocks.tiling import OpenStrips
    from tse_onnx.passes.graph.scope import Scope
    from tse_onnx.passes.graph.upstream import Upstream
    from tse_onnx.passes.reasons import Refusal

GLOBAL = "global"
"""How a block that keeps its global mean is spelled; as a choice it is None."""

UNSAID = "unsaid"
"""In the metadata of a field: the value that goes without saying, where that is not the field's default."""

MEASURED = "measured"
"""In the metadata of a field: its numbers were measured for one block."""

Fields = Mapping[str, Any]
Made = TypeVar("Made", bound="Choice")


class Form(Protocol):
    """A choice on one block: what it is lowered by, and what it buffers."""

    def buffers(self, block: Convertible | Tiled) -> Buffers:
        """What `block`, whose channels and extents are known, buffers in this form."""


@dataclass(frozen=True)
class Buffers:
    """Figures of a form on one block, for one image.

    `tile` is the tile's size along each spatial axis, None where there are no tiles; `after` the elements that wait
    for the gate, `held` those on a machine that streams whole rows; `macs_added` the multiply-accumulates. Where
    another value waits than the map, `waits` is its name and `dtype` its element type.
    """

    tile: tuple[int, ...] | None
    descriptors: int
    after: int
    held: int
    macs_added: int
    waits: str | None = None
    dtype: int | None = None


@dataclass(frozen=True)
class Site:
    """Where a block stands, as far as a choice has to know it: its scope with all the `blocks` in it, and the opset of
    the model.

    With `dynamic`, a map of unknown size is cut into strips all the same.
    """

    scope: Scope
    opset: int
    dynamic: bool = False
    blocks: tuple[Pooling, ...] = ()

    def upstream(self, block: Convertible) -> Upstream:
        """What the map of `block` is made from, up to another block's scale."""
        from tse_onnx.passes.graph.upstream import upstream

        index = self.scope.index
        first = index.nodes[block.anatomy.squeeze.nodes[0]]
        pooled = next(name for name in first.input if not index.is_constant(name))
        return upstream(pooled, self.scope, self._ranks, self._scales)

    @cached_property
    def names(self) -> Set[str]:
        """Every name that is taken in the scope, and in the bodies within it."""
        from tse_onnx.passes.graph.nested import names_of

        index = self.scope.index
        return {*index.inputs, *index.initializers, *index.sparse_initializers} | names_of(index.nodes)

    @cached_property
    def _ranks(self) -> Mapping[int, int]:
        from tse_onnx.passes.graph.order import in_order

        order, cyclic = in_order(self.scope.index.nodes)
        return {position: rank for rank, position in enumerate((*order, *cyclic))}

    @cached_property
    def _scales(self) -> Mapping[int, str]:
        return {
            block.scale.position: f"is the scale of another block, {quoted(block.name)}"
            for block in self.blocks
            if block.scale is not None
        }


@dataclass(frozen=True)
class Settled:
    """What a choice comes to on one block: its `form`, which on a map of unknown size are strips that stay open.

    The block is `kept` as it is where the form changes nothing. `note` says why, or what was done; `choice` is the
    choice with what it left open.
    """

    form: Form | OpenStrips
    note: str = ""
    kept: bool = False
    choice: Choice | None = None


class Choice(ABC):
    """What may become of a block, beside keeping its global mean."""

    squeezes: ClassVar[Mapping[str, str]]
    """The names that the choice goes by as a `squeeze`, each with what it means."""
    examples: ClassVar[tuple[tuple[str, str], ...]]
    """Lines of a plan file, each with what it means."""
    done: ClassVar[str]
    """What a block is called that an earlier conversion made so."""
    opens: ClassVar[str]
    """What the first node of such a block does to the map."""
    may_lose_scale: ClassVar[bool] = False
    """Whether the node that scales may be gone, too."""
    exact: ClassVar[bool] = False
    """Whether the outputs stay what they are, so that there is nothing to measure."""
    any_size: ClassVar[bool] = False
    """Whether a form on a map of one size is right for maps of any size."""
    separators: ClassVar[tuple[str, str]] = (", ", ": ")
    """Of the JSON that nodes bear: the bytes of a model stay what they are."""

    @property
    def kind(self) -> str:
        """The choice in a word, without its numbers: what tables and pictures sort by."""
        return next(iter(self.squeezes))

    @property
    def label(self) -> str:
        """The choice in a word, with its numbers, for narrow tables."""
        return self.kind

    @property
    def words(self) -> str:
        """The choice as a table of choices has it."""
        return self.kind

    @property
    def already(self) -> str:
        """What is said of a block that an earlier conversion made so."""
        return f"{self.done} already"

    @abstractmethod
    def settle(self, block: Convertible, site: Site) -> Settled | Refusal:
        """What the choice comes to on a block that nothing speaks against and that no conversion changed yet.

        Raises `UsageError` where it was measured for another block.
        """

    def found(self, block: Tiled, site: Site) -> Form | None:
        """The form of a block that an earlier conversion made so; None where it cannot be told."""
        return None

    def fields(self) -> dict[str, Any]:
        """The choice as JSON knows it, without what goes without saying: `choices.choice_of` reads it."""
        said: dict[str, Any] = {} if "squeeze" in _names(type(self)) else {"squeeze": self.kind}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every choice is a dataclass
            value = getattr(self, field.name)
            if value != field.metadata.get(UNSAID, field.default):
                said[field.name] = _plain(value)
        return said

    @classmethod
    def of(cls: type[Made], fields: Fields) -> Made:
        """The choice with these fields. Raises `UsageError`, or `TypeError` for what is no field or of another type."""
        unsaid = {field.name: field.metadata[UNSAID] for field in _fields(cls) if UNSAID in field.metadata}
        return cls(**unsaid | {key: value for key, value in fields.items() if key != "squeeze" or key in _names(cls)})

    @classmethod
    def measured(cls) -> tuple[str, ...]:
        """The fields whose numbers were measured."""
        return tuple(field.name for field in _fields(cls) if MEASURED in field.metadata)

    @classmethod
    def needs_numbers(cls) -> bool:
        """Whether there is no such choice before something was measured."""
        return any(MEASURED in field.metadata and field.default is dataclasses.MISSING for field in _fields(cls))

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """The fields that a person sets, `squeeze` among them."""
        said = () if "squeeze" in _names(cls) else ("squeeze",)
        return (*said, *(field.name for field in _fields(cls) if MEASURED not in field.metadata))


def _fields(kind: type[Choice]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)  # type: ignore[arg-type]  # every choice is a dataclass


def _names(kind: type[Choice]) -> frozenset[str]:
    return frozenset(field.name for field in _fields(kind))


def _plain(value: object) -> object:
    """As JSON has it: lists, and dictionaries by the names of fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value
