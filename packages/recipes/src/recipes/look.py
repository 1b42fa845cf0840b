"""See how a method cuts a picture: `python -m recipes.look --config uhd.yaml --image page.png`."""

from recipes.command_line.entry import main

if __name__ == "__main__":
    main("look")
