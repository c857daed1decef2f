"""From a model and data to a model in eight bits, and what that loses."""
