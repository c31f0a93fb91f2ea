"""A finished run: its result, and how it is drawn in a terminal, in HTML and with plotly.

A running thing and a finished one are two types; this floor knows the finished one alone.
"""
