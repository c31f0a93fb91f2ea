"""A run in the terminal that started it: a live page with keys, or plain lines, or events for programs."""
