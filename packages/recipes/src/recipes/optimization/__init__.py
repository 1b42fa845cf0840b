"""What is trained at which rate, and by which optimizer."""
