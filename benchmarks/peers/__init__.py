"""One module an engine: the same rule in its own words, and nothing shared but the task.

Each has ``ENGINE``, the distribution's name, and ``CASES``, by name what takes a ``Task`` and gives an ``Outcome``. Only the
run is timed: from data in the engine's usual form (a DataFrame, a list of bars, a written bundle) to the final equity.
"""
