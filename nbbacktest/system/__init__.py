"""One run, whole: built in one place, commanded in one place, reported in one place."""
