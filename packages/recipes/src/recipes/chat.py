"""Talk: `python -m recipes.chat --checkpoint FOLDER page.png`."""

from recipes.options import chat_options


def main() -> None:
    """The command line of `chat`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.dialogue.main`.
    """
    options = chat_options()
    # Not at the top: what was mistyped is said without importing the models.
    from recipes import dialogue

    dialogue.main(options)


if __name__ == "__main__":
    main()
