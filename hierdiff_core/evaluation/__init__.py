"""The evaluation: what to run, what came out, and what may be said of it.

Knows prompt sets, settings, statistics, tables and pictures of figures. Knows nothing of networks
or files: `tasks.evaluation` makes the pictures and keeps the results.
"""
