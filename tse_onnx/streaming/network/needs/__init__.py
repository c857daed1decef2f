"""Which rows of its inputs a row of each operator's output needs, family by family."""
