"""Sessions: what they are, where they are kept, and turns that happen wholly or not at all."""
