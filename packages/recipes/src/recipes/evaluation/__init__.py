"""Evaluation: a model's answers to a benchmark, their scores, and what people are shown of them."""
