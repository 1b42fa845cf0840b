"""A run's folder, and the files written into it."""
