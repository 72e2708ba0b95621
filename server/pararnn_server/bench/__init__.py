"""Measuring speed: a model beside the limits of the machine, all in one interleaved run."""
