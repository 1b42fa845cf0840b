"""Language models: build or read, resize, inject stacks, quantise."""
