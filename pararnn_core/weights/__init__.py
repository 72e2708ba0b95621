"""Weights as files and as matrices of integers."""
