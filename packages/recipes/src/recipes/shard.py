"""Write data as shards: `python -m recipes.shard --data.path train.json --data.images pictures --out shards`."""

from recipes.command_line.options import shard_options


def main() -> None:
    """The command line of `shard`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.shard.main`.
    """
    options = shard_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import shard

    shard.main(options)


if __name__ == "__main__":
    main()
