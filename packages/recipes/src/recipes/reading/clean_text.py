"""Refuse texts that no tokenizer can read."""


def clean_text(text: str, where: str) -> str:
    """The text itself.

    Args:
        text: any text.
        where: its location, for messages.

    Raises:
        ValueError: if it has a NUL, or a surrogate without its other half.
    """
    if "\0" in text:
        raise ValueError(f"{where}: the text has a NUL at character {text.index(chr(0)) + 1}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: the text has half a character (a lone surrogate) at {error.start + 1}") from error
    return text
