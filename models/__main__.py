"""List the bundled models, or write one as a file, with data for it:  python -m models [NAME -o FILE --data FILE]"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import onnx

import models
from models.networks import NETWORKS, build

TRAINED = "digits_se"


def table() -> str:
    """The bundled models, one to a line."""
    rows = [("name", "network", "exporter", "opset", "input", "SE modules", "kB")]
    for entry in models.catalogue():
        batch = "N" if entry.dynamic_batch else "1"
        rows.append(
            (
                entry.name,
                entry.network,
                entry.exporter,
                str(entry.opset),
                "x".join([batch, *map(str, entry.input_shape)]),
                str(entry.se_modules),
                f"{entry.path.stat().st_size / 1000:.0f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", f"made layer by layer, as they were published: {', '.join(NETWORKS)}"])


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m models", description="List the bundled models, or write one.")
    parser.add_argument("name", nargs="?", help="the model to write; default: list all")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write it; default: NAME.onnx")
    parser.add_argument(
        "--data", metavar="FILE", help=f"where to write images for {TRAINED} that it never saw, with labels (.npz)"
    )
    options = parser.parse_args(arguments)
    if options.name is None:
        if options.output is not None or options.data is not None:
            parser.error("which model is to be written?")
        print(table())
        return 0
    if options.name not in (*models.names(), *NETWORKS):
        print(f"models: no model is called {options.name!r}; `python -m models` lists them", file=sys.stderr)
        return 2
    if options.data is not None and options.name != TRAINED:
        print(f"models: only {TRAINED} is trained and has data", file=sys.stderr)
        return 2
    output = options.output or f"{options.name}.onnx"
    try:
        if options.name in NETWORKS:
            onnx.save_model(build(options.name), output)
        else:
            models.save(options.name, output)
    except OSError as error:
        print(f"models: cannot write {output}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"wrote {output}")
    return 0 if options.data is None else _write_data(options.data)


def _write_data(path: str) -> int:
    images, labels = models.digits()
    try:
        with open(path, "wb") as file:
            np.savez(file, input=images, labels=labels)
    except OSError as error:
        print(f"models: cannot write {path}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"wrote {path}: {len(labels)} images with labels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
