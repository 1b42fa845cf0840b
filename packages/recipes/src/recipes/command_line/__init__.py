"""What a user typed: read, checked and completed before anything slow is imported."""
