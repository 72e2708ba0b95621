"""Recipes of the shipped models: corpus, tokenizer, training, evaluation. Run them with `python -m`."""
