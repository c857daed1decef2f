"""What this package needs of others: what an extra is for, whether it is there, and a check-up of all of it."""
