"""Flow matching (Lipman et al. 2023): latents are (1 - sigma) x_0 + sigma epsilon.

The network predicts the velocity epsilon - x_0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.prediction import FLOW


def multistep_flow(
    schedule: NoiseSchedule, steps: int, *, takes_sigmas: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config and spacing by which diffusers' multistep schedulers follow a flow.

    One that takes no sigmas spaces the noise levels itself.
    """
    config = {**schedule.complete, "use_flow_sigmas": True, "prediction_type": FLOW}
    config.setdefault("flow_shift", config.get("shift", 1.0))
    spacing: dict[str, Any] = {"num_inference_steps": steps}
    if takes_sigmas and schedule.sigmas is not None and not schedule.euler_only:
        spacing = {"sigmas": np.asarray(schedule.sigmas(steps))}
    if schedule.mu is not None and config.get("use_dynamic_shifting"):
        spacing["mu"] = schedule.mu(steps)
    return config, spacing
