"""Runs beside each other: what their folders hold, and a page that shows where they differ."""
