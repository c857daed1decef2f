"""Which block bears which tiles: measured on data, chosen for a budget."""
