"""Figures and tables at the end of a run."""
