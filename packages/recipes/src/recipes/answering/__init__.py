"""Answering questions with a checkpoint."""
