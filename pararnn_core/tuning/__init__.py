"""Training of nothing but the state before the first token, through a frozen model."""
