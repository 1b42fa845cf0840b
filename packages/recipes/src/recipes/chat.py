"""Chat with a model: `python -m recipes.chat --checkpoint FOLDER page.png`."""

from recipes.command_line.options import chat_options


def main() -> None:
    """The command line of `chat`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.chat.main`.
    """
    options = chat_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import chat

    chat.main(options)


if __name__ == "__main__":
    main()
