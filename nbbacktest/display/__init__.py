"""A run in the terminal that started it: a live page with keys, plain lines, or JSON events for programs."""
