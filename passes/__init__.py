"""The graph passes: pure functions over ONNX protobufs.

Find (`match`), decide (`tile`), lower (`lowering`) and apply (`splice`) are separate steps, and what passes between
them is frozen data. Nothing here reads a file, runs a session or prints.
"""
