"""An index of a file's conversations: made once, on disk, and read from there one conversation at a time."""
