"""What a request may ask of the sampler: the name that users import."""

from pararnn_core.sampling.sampling_params import SEED_MAX, InvalidSamplingParams, SamplingParams

__all__ = ["SEED_MAX", "InvalidSamplingParams", "SamplingParams"]
