"""Sweeps: one strategy over many values of its parameters. Users call `sweep`; the other modules are its parts."""
