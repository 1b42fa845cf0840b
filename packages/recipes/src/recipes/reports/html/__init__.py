"""Pages for the browser: one file each, which needs nothing from elsewhere."""
