"""The command line: parses, calls, prints. `main` is the program `nbbacktest`."""

from nbbacktest.cli.app import app, main

__all__ = ["app", "main"]
