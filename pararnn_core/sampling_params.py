"""Sampling parameters of a request: the public import path."""

from pararnn_core.sampling.sampling_params import SEED_MAX, InvalidSamplingParams, SamplingParams

__all__ = ["SEED_MAX", "InvalidSamplingParams", "SamplingParams"]
