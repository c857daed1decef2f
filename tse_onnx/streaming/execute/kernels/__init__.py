"""How each operator is run on rows: one table, family by family, as the needs have it."""
