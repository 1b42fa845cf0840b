"""Files that people bring: what `fit` learns from and what `predict` is asked."""
