"""The options of the server, and the environment variables and paths that they are read from."""
