"""`python -m tools.convert`: the former name of `python -m recipes.convert`."""

from recipes.convert import main

if __name__ == "__main__":
    main()
