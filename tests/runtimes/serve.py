"""Run models in one tool, in the tool's own environment: `python -m tests.runtimes.serve TOOL`.

A line of JSON on standard input is a job: `models` and `feeds`, the .npz that goes with each; `outputs`, where what the
first model makes is written; `repeats`, how often each is run in turns to be timed. A line of JSON is the answer:
`refused` with why; or `operators`, whether it `ran`, and `seconds`, the times of each model.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer until standard input ends. What tools print goes to standard error, so that answers stand alone."""
    from tests.runtimes.tools import tools

    tool = tools()[sys.argv[1]]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = _done(tool, json.loads(line))
        except Exception as error:  # whatever a tool raises is its refusal
            answer = {"refused": _why(error), "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _done(tool: Any, job: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    loaded = [tool.load(Path(model)) for model in job["models"]]
    feeds = [dict(np.load(path)) for path in job["feeds"]]
    answer: dict[str, Any] = {"operators": loaded[0].operators, "ran": loaded[0].run is not None}
    if loaded[0].run is None:
        return answer
    made = loaded[0].run(feeds[0])
    np.savez(job["outputs"], *[np.asarray(value) for value in made])
    times: list[list[float]] = [[] for _ in loaded]
    for _ in range(job.get("repeats", 0)):
        for one, given, taken in zip(loaded, feeds, times, strict=True):
            begun = time.perf_counter()
            one.run(given)
            taken.append(time.perf_counter() - begun)
    answer["seconds"] = times
    return answer


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


if __name__ == "__main__":
    main()
