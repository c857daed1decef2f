"""What a network costs: its layers with their parameters and multiply-accumulates, and their cycles on an array of
processing elements."""
