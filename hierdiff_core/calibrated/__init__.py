"""Calibrated planning: who shares which steps, by what the denoiser settles in each of them.

Readings of a denoiser (`readings`) are fitted to a calibration (`fitting`), from which the plans of
least excess follow (`plans`).
"""
