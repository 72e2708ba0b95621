"""Named choices and their numbers. Native operations take numbers, because torch leaks every str argument."""

from collections.abc import Mapping

ACTIVATIONS = {"none": 0, "silu": 1}
DTYPES = {"float32": 0, "bfloat16": 1}
GATE_ORDERS = {"gate_then_norm": 0, "norm_then_gate": 1}
MIXER_OUTPUTS = GATE_ORDERS | {"norm_only": 2, "none": 3}
"""The gate orders of a model. The last two have no gate, and no kernel takes them."""


def number(argument: str, name: str, choices: Mapping[str, int]) -> int:
    """Return the number of a choice. Raises RuntimeError, as native operations do, for an unknown name."""
    if name not in choices:
        expected = " or ".join(f'"{choice}"' for choice in choices)
        raise RuntimeError(f'{argument}: expected {expected}, got "{name}"')
    return choices[name]
