"""Check data before training on it: `python -m recipes.check --config uhd --config data/llava --data.path my.json`."""

from recipes.command_line.entry import main

if __name__ == "__main__":
    main("check")
