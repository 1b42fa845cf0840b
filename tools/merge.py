"""`python -m tools.merge`: the former name of `python -m recipes.merge`."""

from recipes.merge import main

if __name__ == "__main__":
    main()
