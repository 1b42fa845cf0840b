"""Pictures and tables at the end of a run."""
