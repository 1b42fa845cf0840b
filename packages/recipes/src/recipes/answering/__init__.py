"""A checkpoint that answers questions."""
