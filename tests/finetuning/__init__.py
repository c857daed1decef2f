"""Fine-tuning: weights trained for the tiles that they get."""
