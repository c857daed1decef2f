"""Run one step:  python -m models.zoo STEP DIR [NAME ...]"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

STEPS = {
    "torch": "torch_exports",
    "keras": "keras_exports",
    "paddle": "paddle_exports",
    "jax": "jax_exports",
    "derive": "derive",
    "check": "check",
    "published": "published",
    "table": "table",
}


def main() -> int:
    """Import what the step needs, and nothing else."""
    parser = argparse.ArgumentParser(
        prog="python -m models.zoo", description="Real exports, and what is found in them."
    )
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the models lie")
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks, models or wheels; default: all")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where `table` writes; default: the terminal")
    options = parser.parse_args()
    step = importlib.import_module(f"models.zoo.{STEPS[options.step]}")
    if options.step == "table":
        text = step.table(options.folder)
        if options.output is None:
            print(text, end="")
        else:
            options.output.write_text(text)
    else:
        step.make(options.folder, options.names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
