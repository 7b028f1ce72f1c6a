"""What a network predicts, and the x_0 and noise that follow from it.

x_t = alpha x_0 + sigma epsilon. Each function takes one of diffusers' names for a prediction and
returns the weights of (x_t, prediction), tables of one number per step.
"""

from __future__ import annotations

import torch

from hierdiff_core.solvers.linear import Table

PREDICTIONS = ("epsilon", "sample", "v_prediction")  # of diffusion models
FLOW = "flow_prediction"  # of flow models: the velocity epsilon - x_0, where alpha is 1 - sigma


def predicted_x0(kind: str, alpha: Table, sigma: Table) -> tuple[Table, Table]:
    """Return x_0's weights: (x - sigma eps) / alpha, x_0 itself, alpha x - sigma v, x - sigma f."""
    if kind == "epsilon":
        return 1 / alpha, -sigma / alpha
    if kind == "sample":
        return torch.zeros_like(alpha), torch.ones_like(alpha)
    if kind == FLOW:
        return torch.ones_like(alpha), -sigma
    return alpha, -sigma


def predicted_noise(kind: str, alpha: Table, sigma: Table) -> tuple[Table, Table]:
    """Return noise's weights: epsilon itself, or (x - alpha x_0) / sigma, or sigma x + alpha v."""
    if kind == "epsilon":
        return torch.zeros_like(alpha), torch.ones_like(alpha)
    if kind == "sample":
        return 1 / sigma, -alpha / sigma
    return sigma, alpha
