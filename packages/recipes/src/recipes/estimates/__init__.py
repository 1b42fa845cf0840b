"""Memory estimates: how much is needed, and how much is free."""
