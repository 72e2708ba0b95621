"""Parts for serving any architecture on a GPU: plans, products, row operations, graphs."""
