"""What serves a model on a GPU below the architecture: plans, products, rows, graphs."""
