"""The chat model beside the transformer that it learned from: memory, speed, perplexity by context."""
