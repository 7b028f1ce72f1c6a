"""Handing over: which files of a night are for whom, told in tables, by names and to a shop."""
