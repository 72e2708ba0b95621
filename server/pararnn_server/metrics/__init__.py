"""Measurements: what /metrics reports, the memory of the process, and numbers written for people."""
