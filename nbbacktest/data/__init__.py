"""Bars: their sources, calendars, checks and derived bars. Knows no thread and no money."""
