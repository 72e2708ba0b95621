"""The commands of `pararnn`, one module each."""
