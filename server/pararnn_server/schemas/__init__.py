"""What comes in and goes out, one module per noun. Nothing here imports torch."""
