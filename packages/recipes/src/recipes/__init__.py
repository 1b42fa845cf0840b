"""Train, validate and ask vision-language models from the command line: `python -m recipes.fit --config uhd.yaml`."""
