"""Sessions: what they are, who may use them, and turns that are kept whole or not at all."""
