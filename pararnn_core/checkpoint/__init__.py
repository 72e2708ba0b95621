"""Checkpoints: read with checks, written whole, and named by a fingerprint."""

from pararnn_core.checkpoint.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    checkpoint_info,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
    write_checkpoint,
)

__all__ = [
    "CheckpointError",
    "CheckpointInfo",
    "checkpoint_info",
    "load_checkpoint",
    "save_checkpoint",
    "verify_checkpoint",
    "write_checkpoint",
]
