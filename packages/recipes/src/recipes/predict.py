"""Answer: `python -m recipes.predict CHECKPOINT --image page.png --question "What is the total?"`."""

from recipes.prediction import main

if __name__ == "__main__":
    main()
