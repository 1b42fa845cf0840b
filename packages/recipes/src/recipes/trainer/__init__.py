"""Settings of Lightning's Trainer: completed, or refused."""
