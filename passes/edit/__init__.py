"""The only changes to a graph, what they leave to be remembered, and the way back."""
