"""`python -m tools.export`: the former name of `python -m recipes.export`."""

from recipes.export import main

if __name__ == "__main__":
    main()
