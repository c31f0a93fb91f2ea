"""Where bars come from: sources, calendars, checks and derived bars. Knows no thread and no money."""
