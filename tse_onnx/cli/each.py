"""`python -m tse_onnx.cli.each COMMAND [OPTIONS] MODEL...`: a command on each of several models, for pre-commit.

pre-commit puts the files that changed behind the options. They are what ends in .onnx at the end of the line, or comes
behind `--`. All are looked at; the exit code is the largest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def each(words: Sequence[str]) -> int:
    """Run a command on each model in turn; the largest exit code, 0 where there is no model."""
    first = len(words)
    if "--" in words:
        first = words.index("--") + 1
        command = words[: first - 1]
    else:
        while first and words[first - 1].lower().endswith(".onnx"):
            first -= 1
        command = words[:first]
    codes = [0]
    for model in words[first:]:
        print(f"{model}:", flush=True)
        codes.append(subprocess.run([sys.executable, "-m", "tse_onnx", *command, "--", model]).returncode)
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(each(sys.argv[1:]))
