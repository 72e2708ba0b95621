"""Training of a language model on text, from the files to a checkpoint, and its measurement on text."""
