"""Choose what becomes of each block, so that the network fits a budget and loses least on your own data."""

import numpy as np

import models
import tse_onnx

models.save("digits_se", "digits.onnx")
images, labels = models.digits()
np.savez("digits.npz", input=images, labels=labels)

# Chosen by one half of these samples, and judged on the other, which had no part in the choice.
data = tse_onnx.Data("digits.npz", limit=100)
menu = tse_onnx.Menu(rows=(3, 7), squeezes=("tile", "running"))  # what every block is offered
tuned = tse_onnx.tune("digits.onnx", data, budget=300 * 1024, menu=menu, trials=8, points=3, cache=False)

print(tuned.chosen.bytes <= 300 * 1024, tuned.held_out)  # prints True 50 of 450 samples from digits.npz
for block, choice in tuned.plan.choices.items():
    print(block, choice or "is kept", sep=": ")
# prints /3/body/body.6: tiles of 3 rows
# prints /4/body/body.6: a running squeeze of 3 rows, step 1
# prints /5/body/body.6: is kept
# prints /6/body/body.6: is kept

# What was promised is what the converted network holds.
result = tse_onnx.convert("digits.onnx", "tiled.onnx", plan=tuned.plan)
print(tse_onnx.stream(result.model).totals["min"].bytes == tuned.chosen.bytes)  # prints True
