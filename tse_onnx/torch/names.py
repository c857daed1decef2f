"""The names of blocks in exports, and those of the modules that they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# What torch's own wrappers put in front of the name of a module.
_WRAPPERS = frozenset({"_orig_mod", "module"})
_AGAIN = re.compile(r"_\d+$")

Parts = tuple[str, ...]


def placed(blocks: Iterable[str], modules: Iterable[str]) -> Mapping[str, str]:
    """The module of each block, as far as there is one; both by name.

    torch's dynamo exporter names a block `blocks.0.0.se`, as the module is named; its TorchScript exporter
    `/blocks/blocks.0/blocks.0.0/se`, where what is in a list begins with the list's name. Where the one network was a
    part of the other when it was exported or tiled, the names agree from some part on; that is taken where it is so for
    one module alone. A block of a module that is called again ends in a number.
    """
    known = {name: module_parts(name) for name in modules}
    found = {}
    for block in blocks:
        module = _module(block, known) or _module(_AGAIN.sub("", block), known)
        if module is not None:
            found[block] = module
    return found


def module_parts(module: str) -> Parts:
    """The parts of a module's name, wrappers left out."""
    return tuple(part for part in module.split(".") if part not in _WRAPPERS)


def block_parts(block: str) -> Parts:
    """The parts of the name that the module of a block had."""
    parts, before = list[str](), ""
    for segment in block.strip("/").split("/"):
        own = segment.removeprefix(f"{before}.") if before else segment
        parts += own.split(".")
        before = segment
    return tuple(part for part in parts if part not in _WRAPPERS)


def _module(block: str, known: Mapping[str, Parts]) -> str | None:
    wanted = block_parts(block)
    exact = [name for name, parts in known.items() if parts == wanted]
    alike = exact or [name for name, parts in known.items() if _ends_alike(parts, wanted)]
    return alike[0] if len(alike) == 1 else None


def _ends_alike(one: Parts, other: Parts) -> bool:
    shorter = min(len(one), len(other))
    return shorter > 0 and one[-shorter:] == other[-shorter:]
