"""The bounded executor: a network run row by row, with real numbers, in the room that the model predicts."""
