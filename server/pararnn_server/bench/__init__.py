"""Speed of a model beside the limits of the machine, measured in one interleaved run."""
