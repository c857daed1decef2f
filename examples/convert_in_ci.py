"""Convert a model in a job that fails where too little is saved: `python -m examples.convert_in_ci [MIN_SAVED]`.

Exit code 1, and no output, where a bound is missed; 2 where the model or an option is wrong, as on the command line.
"""

import sys

import models
import tse_onnx


def main(min_saved: float = 40) -> int:
    models.save("digits_se", "digits.onnx")  # in a job of your own: the model that it has built
    try:
        result = tse_onnx.convert(
            "digits.onnx",
            "tiled.onnx",
            rows=7,
            max_memory=300 * 1024,  # bytes that the whole network holds while rows stream in
            min_saved=min_saved,  # per cent of that
            report="report.json",  # to compare with that of the next job: `tse-onnx diff`
        )
    except tse_onnx.CheckFailed as error:  # a bound is missed, or the proof failed: nothing was written
        print(error, file=sys.stderr)
        return 1
    except tse_onnx.TseError as error:
        print(error, file=sys.stderr)
        return 2
    totals = result.report.buffering.totals
    print(totals.converted, f"{totals.reduction:.0%}")  # prints 4 65%
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
