"""The evaluation: which trials to run, their results, and the report on them.

No network runs here: `tasks.evaluation` makes the pictures and keeps the results.
"""
