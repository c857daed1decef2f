"""Another tool as judge of depths: the C++ that hls4ml writes, and whether it comes to a halt.

    pip install '.[hls4ml]'  (and g++)
    python -m benchmarks.hls4ml [--json FILE] [NAME ...]

`network` has small networks; `translate` makes hls4ml's model of one, a layer for a node; `compiled` compiles what
that writes (Vitis, io_stream) with the streams of `hls_stream.h`, which block, and a thread for each layer; `judge`
finds the least depth of every stream, beside the depth that `stream --export hls4ml` says.
"""
