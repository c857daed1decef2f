"""A network in eight bits: the ranges of its values on data, and the model with QuantizeLinear and DequantizeLinear."""
