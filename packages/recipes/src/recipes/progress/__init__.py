"""Progress of a run: the progress line and throughput."""
