"""Measure the small reader, and put it into its package."""
