"""From a model to a converted model and its report, and back."""
