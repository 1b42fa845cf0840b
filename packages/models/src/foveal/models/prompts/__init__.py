"""From conversations to token ids: templates, tokenizers, the processor, batches."""
