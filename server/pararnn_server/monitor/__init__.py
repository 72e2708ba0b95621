"""The live view of all sessions and of what the server holds: a table, figures, and a stream of changes."""
