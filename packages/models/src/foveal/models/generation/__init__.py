"""Generate answers, token by token."""
