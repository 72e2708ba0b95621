"""Threads, deadlines and futures that the rest of the server works with."""
