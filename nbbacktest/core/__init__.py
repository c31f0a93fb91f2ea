"""The ground floor: names, records, errors, the state table, clocks and the session config.

Nothing here knows a source of bars, a thread, money or a face.
"""
