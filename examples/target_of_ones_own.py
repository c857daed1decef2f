"""Hold models against the limits of a device that is not known by name, and convert within them."""

from pathlib import Path

import models
import tse_onnx

board = Path(__file__).with_name("board.toml")
model = models.load("digits_se")
print(tse_onnx.check(model, board).passed)  # prints True

# With means by pools, seven rows are windows of 7 × 32 and 7 × 16 pixels, which this board unrolls; 7 × 8 it takes.
tiled = tse_onnx.convert(model, rows=7, means="pads").model
for violation in tse_onnx.check(tiled, board).violations:
    print(violation.node, violation.found)
# prints /3/body/body.6/tiled_squeeze 224
# prints /4/body/body.6/tiled_squeeze 112
# prints /5/body/body.6/tiled_squeeze 112

# With the target named, the form that is written is the first within its limits.
fitted = tse_onnx.convert(model, rows=7, target=board).model
print(tse_onnx.check(fitted, board).passed)  # prints True
