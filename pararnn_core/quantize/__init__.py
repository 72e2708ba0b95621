"""Float checkpoints to quantised ones, measured and described."""

from pararnn_core.quantize.quantize import Text, quantize_checkpoint

__all__ = ["Text", "quantize_checkpoint"]
