"""The serving form of the model on a device of torch's: a GPU, or the CPU where tests run the same code."""

from pararnn_core.device.model import DeviceModel

__all__ = ["DeviceModel"]
