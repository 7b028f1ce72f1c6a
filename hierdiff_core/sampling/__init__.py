"""Sampling: a plan is walked by one continuous batch.

`sampler` is the way in: rounds, each of which decides which segments take the slots
(`ready_queue`), computes calls of the denoiser (`batch`, `step`) in widths that the plan alone sets
(`call_widths`), and sends off what has ended (`transfers`).
"""
