"""The spellings of a block's parts, as data: what may be a squeeze, and what may stand on the way to the gate."""
