"""What other people's tools make of converted models, each in an environment of its own: `python -m tests.runtimes`."""
