"""A training state as a checkpoint: `python -m recipes.merge_shards runs/uhd/version_0/states/step-00000120`."""

from recipes.options import merge_options


def main() -> None:
    """The command line of `merge_shards`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.merging.main`.
    """
    options = merge_options()
    # Not at the top: what was mistyped is said without importing the models.
    from recipes import merging

    merging.main(options)


if __name__ == "__main__":
    main()
