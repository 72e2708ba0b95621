"""`python -m pararnn_server` is `pararnn`."""

from pararnn_server.cli import main

main()
