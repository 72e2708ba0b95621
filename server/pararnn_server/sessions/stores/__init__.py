"""Stores of sessions: memory, SQLite and Redis behind one contract."""
