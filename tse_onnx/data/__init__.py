"""What a model is fed with: the user's images or arrays with their labels, or seeded noise."""
