"""Solvers of a recurrence over packed sequences: step by step, scans, and Newton's method."""
