"""What messages call a setting and a command: a keyword and a function to a program, an option to the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar

from tse_onnx.passes.reasons import printable

_AS_OPTIONS: ContextVar[bool] = ContextVar("whether messages are for the command line", default=False)

# Where an option is not spelled as the keyword is, with dashes.
_OPTIONS = {"input_shapes": "--input-shape", "stages": "--rows"}


@contextlib.contextmanager
def as_options() -> Iterator[None]:
    """Let messages that are made meanwhile name options: whoever reads them has typed a command."""
    token = _AS_OPTIONS.set(True)
    try:
        yield
    finally:
        _AS_OPTIONS.reset(token)


def setting(name: str, value: object = None) -> str:
    """The setting that a program gives as the keyword `name`, with a `value` if there is one to advise: True and False
    are flags, a mapping has sizes by names of inputs."""
    if not _AS_OPTIONS.get():
        return name if value is None else f"{name}={value!r}"
    option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
    match value:
        case None | True:
            return option
        case False:
            return f"--no-{option.removeprefix('--')}"
        case Mapping():
            return " ".join(f"{option} {printable(key)}:{_listed(dims)}" for key, dims in value.items())
    return f"{option} {_listed(value)}"


def command(name: str, **settings: object) -> str:
    """What does the work of the command `name`, with these settings."""
    given = [setting(*each) for each in settings.items()]
    if _AS_OPTIONS.get():
        return " ".join([f"tse-onnx {name}", *given])
    return f"tse_onnx.{name}({', '.join(given)})" if given else f"tse_onnx.{name}"


def _listed(value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Collection):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return ",".join(map(str, value))
