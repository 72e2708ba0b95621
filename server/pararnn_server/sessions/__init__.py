"""Sessions: their records, the right to write to them, and turns that are committed wholly or not at all."""
