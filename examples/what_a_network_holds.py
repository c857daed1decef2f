"""Read what every tensor of a network holds while its input streams in row by row, and how tiles change that."""

import models
import tse_onnx

model = models.load("digits_se")
before = tse_onnx.stream(model)
print(before.totals["min"].bytes)  # prints 507876

# Those that hold most, and why: a gate that is not known before the last row, a residual connection that waits for it.
for buffer in before.contributors[:3]:
    print(buffer.name, buffer.min.rows, "of", buffer.height, "rows:", buffer.kind)
# prints /3/body/body.5/Mul_output_0 32 of 32 rows: gate
# prints /5/body/body.5/Mul_output_0 16 of 16 rows: gate
# prints /2/Mul_output_0 32 of 32 rows: skip

after = tse_onnx.stream(tse_onnx.convert(model, rows=7).model)
print(after.totals["min"].bytes)  # prints 287652
for buffer in after.contributors[:3]:
    print(buffer.name, buffer.min.rows, "of", buffer.height, "rows:", buffer.kind)
# prints /3/body/body.5/Mul_output_0 7 of 32 rows: gate
# prints /5/body/body.5/Mul_output_0 7 of 16 rows: gate
# prints /4/body/body.5/Mul_output_0 7 of 16 rows: gate

# The same with eight bits to an element, and a FIFO for each reader, as deep as a power of two.
fifos = tse_onnx.Machine(bits=8, storage="per-reader", power_of_two=True)
print(tse_onnx.stream(model, machine=fifos).totals["min"].bytes)  # prints 145076
