"""Answering over HTTP, in the manner of OpenAI's chat completions: requests, limits, batches, pictures, metrics."""
