"""Write, open, adapt and export folders of weights."""
