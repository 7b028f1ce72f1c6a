"""Sampling: a plan is walked by one continuous batch.

Start at `sampler`: rounds, each of which decides which segments take the slots (`ready_queue`),
computes calls of the denoiser (`batch`, `step`) in widths that follow from the plan
(`call_widths`), and sends off the states of ended segments (`transfers`).
"""
