"""What fits, before loading: `python -m recipes.cost --config uhd.yaml --config uhd/13b.yaml --image 1000x3000`."""

from recipes.command_line.entry import main

if __name__ == "__main__":
    main("cost")
