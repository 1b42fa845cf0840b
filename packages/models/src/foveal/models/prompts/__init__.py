"""Turn conversations into token ids: templates, tokenizers, the processor, batches."""
