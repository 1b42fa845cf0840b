"""Decoders: built anew or read, resized, injected with stacks, quantized."""
