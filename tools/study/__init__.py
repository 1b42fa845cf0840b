"""The papers' questions, asked again at a size for two cores: every method trained alike on built-in pages.

`arms` says what is compared and what the papers claim, `arms/` holds the configurations, `train` trains, `results`
reads, `table` and `chart` report. The command is `python -m tools.study`.
"""
