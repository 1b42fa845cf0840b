"""Read the user's own files: training data for `fit` and questions for `predict`."""
