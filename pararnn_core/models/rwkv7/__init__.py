"""RWKV-7: its config, tensors, states and serving form."""
