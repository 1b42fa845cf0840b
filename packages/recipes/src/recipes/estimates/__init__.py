"""Memory: what is needed, and what is free."""
