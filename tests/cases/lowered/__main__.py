"""`python -m tests.cases.lowered`: write every lowered graph anew. Read the difference before it is kept."""

from tests.cases.lowered import FILES, write

for file in FILES:
    write(file)
