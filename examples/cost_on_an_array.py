"""Count the cycles of a network on an array of one's own, before and after tiling."""

import models
import tse_onnx

board = tse_onnx.Array("board", size=32, buffer=512 * 1024, dataflows=("ws",), bits=8, bytes_per_cycle=32)
model = models.load("digits_se")
before = tse_onnx.cost(model, board)
after = tse_onnx.cost(tse_onnx.convert(model, rows=7).model, board)
print(before.cycles, after.cycles)  # prints 838202 866702

# The layers that take most of them: depthwise convolutions, which weight stationary leaves most of an array idle with.
for name, layer in sorted(before.layers.items(), key=lambda item: -item[1].cycles)[:3]:
    print(name, layer.cycles, f"{layer.utilisation:.1%}")
# prints /3/body/body.3/Conv 355512 0.1%
# prints /5/body/body.3/Conv 210360 0.1%
# prints /4/body/body.3/Conv 106680 0.1%
