"""Folders of weights: written, opened, adapted, exported."""
