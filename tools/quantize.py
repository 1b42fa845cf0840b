"""`python -m tools.quantize`: the former name of `python -m recipes.quantize`."""

from recipes.quantize import main

if __name__ == "__main__":
    main()
