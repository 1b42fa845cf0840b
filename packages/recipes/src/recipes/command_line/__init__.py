"""Read, check and complete the command line before anything slow is imported."""
