"""A fuzzer: models are broken in structured ways, and every command has to stand them.

    python -m tests.fuzz --minutes 30 --seed 1     as many inputs as fit into that time
    python -m tests.fuzz --seed 1 --only 1234      one of them again, in this process, with its traceback

`seeds` makes the models to start from, `mutate` breaks them, `invariants` tries one and says what must hold. Input
number n of a seed is always the same.
"""
