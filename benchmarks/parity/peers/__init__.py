"""One module an engine: a tape in its own words. Each has ``ENGINE``, the distribution's name, and ``run``."""
