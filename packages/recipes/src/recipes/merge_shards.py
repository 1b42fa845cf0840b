"""Write a training state as a checkpoint: `python -m recipes.merge_shards runs/uhd/version_0/states/step-00000120`."""

from recipes.command_line.options import merge_shards_options


def main() -> None:
    """The command line of `merge_shards`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.merge_shards.main`.
    """
    options = merge_shards_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import merge_shards

    merge_shards.main(options)


if __name__ == "__main__":
    main()
