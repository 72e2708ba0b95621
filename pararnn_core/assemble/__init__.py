"""Chat models, joined from a transformer's frozen weights and trained mixers."""
