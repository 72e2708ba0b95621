"""The ParaRNN architecture: config, tensors, layers, and its forms for training, CPU and GPU."""
