"""Calibrated planning: who shares which steps, by what the denoiser settles in each of them.

Knows readings of a denoiser, the calibration fitted to them, and the plans of least excess that
follow from it. Knows nothing of where models, embeddings or readings are kept.
"""
