"""The row-streaming dataflow model: what every tensor of a network holds while its input streams in, row by row."""
