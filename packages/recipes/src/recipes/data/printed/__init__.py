"""Pages of printed text in many fonts, made on the fly: what the small reader learns from."""
