"""How visual tokens of several views become what the language model reads."""
