"""Trading on bars: strategies, orders, fills, positions, statistics.

Pure and single-threaded: no lock, no thread, no clock, no file.
"""
