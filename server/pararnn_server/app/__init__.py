"""The application around every request, and the process that serves it."""
