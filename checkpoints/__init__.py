"""Recipes of the models that ship: corpus, tokenizer, training, evaluation. Run them with `python -m`."""
