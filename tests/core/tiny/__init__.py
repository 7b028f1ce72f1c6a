"""Every family in miniature: pipelines of the stock classes with random weights.

Widths are multiples of 32: on a CPU torch rounds the last columns of others another way.
"""
