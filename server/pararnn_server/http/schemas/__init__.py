"""Fields of requests and answers, one module per noun; nothing here imports torch."""
