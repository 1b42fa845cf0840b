"""Estimate operations and memory from shapes alone."""
