"""What the commands do; `python -m recipes.NAME` starts each."""
