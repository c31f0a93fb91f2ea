"""Moves bars in time, through three threads that wait for each other.

All the locks are here. Nothing here knows an order, money or a face.
"""
