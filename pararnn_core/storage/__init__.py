"""Files: read without trust, and directories replaced as a whole."""
