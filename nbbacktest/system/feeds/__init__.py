"""Feeds of bars over the network: a client for live runs, and a server that replays a session."""
