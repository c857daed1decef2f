"""The least that a job can cost: what every benchmark compares with."""
