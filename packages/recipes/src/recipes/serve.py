"""Answer over HTTP: `python -m recipes.serve --checkpoint CHECKPOINT`."""

from recipes.command_line.serve_options import serve_options


def main() -> None:
    """The command line of `serve`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.serve.main`.
    """
    options = serve_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import serve

    serve.main(options)


if __name__ == "__main__":
    main()
