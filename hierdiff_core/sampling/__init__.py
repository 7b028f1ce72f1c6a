"""Sampling: a plan is walked by one continuous batch.

`sampler` is the way in: rounds, each of which decides which segments take the slots (`walk`),
computes calls of the denoiser (`batch`) in widths that the plan alone sets (`shapes`), and sends
off what has ended (`outbox`). Knows nothing of model families, storage or progress.
"""
