"""Vision-language models put together from exchangeable parts."""
