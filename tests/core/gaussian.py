"""A denoiser in closed form: pictures are Gaussian about their conditioning, plus a small wave.

It answers in whatever kind of prediction a scheduler's config asks for, at any noise level, so
that whole trajectories of any solver can be compared with those of the stock scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from hierdiff_core.embedding import Slot
from hierdiff_core.solver import NoiseSchedule

SHAPE = (2, 4, 4)
SPREAD = 0.25  # variance of a picture
STOCK: Mapping[str, Any] = {
    "ddim": DDIMScheduler,
    "ddpm": DDPMScheduler,
    "euler": EulerDiscreteScheduler,
    "flow_euler": FlowMatchEulerDiscreteScheduler,
    "dpmsolver++": DPMSolverMultistepScheduler,
    "pndm": PNDMScheduler,
    "unipc": UniPCMultistepScheduler,
    "lcm": LCMScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
    "flow_dpmsolver++": DPMSolverMultistepScheduler,
    "flow_unipc": UniPCMultistepScheduler,
}
FLOWS = ("flow_euler", "flow_dpmsolver++", "flow_unipc")
# What diffusers' users say to put a multistep scheduler on a flow model.
ON_A_FLOW: Mapping[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
_DRAWN_BY = (
    "ddpm",
    "lcm",
    "euler_ancestral_discrete",
    "flow_match_euler_discrete",
)  # modules of schedulers that draw noise
KANDINSKY: Mapping[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}


@dataclass(frozen=True)
class Gaussian:
    """E[epsilon], E[x_0], E[v] or E[epsilon - x_0] of noisy latents; a Denoiser."""

    config: Mapping[str, Any]
    flow: bool = False
    latent_shape: tuple[int, ...] = SHAPE
    slots: tuple[Slot, ...] = ()

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def noise_schedule(self) -> NoiseSchedule:
        return NoiseSchedule("flow" if self.flow else "diffusion", self.config)

    @cached_property
    def alphas_cumprod(self) -> npt.NDArray[np.float64]:
        return np.asarray(DDPMScheduler.from_config(dict(self.config)).alphas_cumprod.double())

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Return the prediction, with as many channels again behind it."""
        assert torch.isfinite(latents).all()
        x, y = latents.double(), conditioning["middle"].double().view(latents.shape)
        alpha, sigma = (each.view(-1, 1, 1, 1) for each in self._levels(timesteps))
        x0 = y + SPREAD * alpha * (x - alpha * y) / (SPREAD * alpha**2 + sigma**2)
        x0 = x0 + 0.1 * sigma * torch.sin(3 * x)
        epsilon = (x - alpha * x0) / sigma
        kinds = {"epsilon": epsilon, "sample": x0, "v_prediction": alpha * epsilon - sigma * x0}
        kind = self.config.get("prediction_type", "epsilon")
        found = epsilon - x0 if self.flow else kinds[kind]
        return torch.cat([found, torch.tanh(x)], dim=1).float()

    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        raise NotImplementedError

    def _levels(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = timesteps.double()
        if self.flow:
            return 1 - t / 1000, t / 1000
        bars = np.interp(t.numpy(), np.arange(1000), self.alphas_cumprod)
        bar = torch.from_numpy(bars).view(-1)
        return bar.sqrt(), (1 - bar).sqrt()


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stock_scheduler(name: str, config: Mapping[str, Any], steps: int) -> Any:
    """Return diffusers' scheduler at its first step; see `stock_config`."""
    scheduler = STOCK[name].from_config(stock_config(name, config))
    scheduler.set_timesteps(steps)
    return scheduler


def stock_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config for diffusers' scheduler; those but DDPM's are told of no variance."""
    told = {key: value for key, value in config.items() if key != "variance_type"}
    told = dict(config) if name == "ddpm" else told
    if name == "pndm":
        told = {"skip_prk_steps": True, **told}
    if name in FLOWS[1:]:
        told = {"flow_shift": config.get("shift", 1.0), **told, **ON_A_FLOW}
    if name == "flow_euler":
        told = {"shift": config.get("flow_shift", 1.0), **told}
    return told


def stock_trajectory(
    scheduler: Any,
    denoiser: Gaussian,
    latents: torch.Tensor,
    middles: Sequence[torch.Tensor],
    noises: Iterable[torch.Tensor],
) -> list[torch.Tensor]:
    """Return one picture's latents after each step of the stock scheduler.

    The conditioning and the noise are given for each step.
    """
    x = latents[None] * getattr(scheduler, "init_noise_sigma", 1.0)
    found, whole = [], scheduler.config.get("variance_type") == "learned_range"
    drawn = iter(noises)
    with pytest.MonkeyPatch.context() as patch:
        for module in _DRAWN_BY:
            name = f"diffusers.schedulers.scheduling_{module}.randn_tensor"
            patch.setattr(name, lambda *_, **__: next(drawn)[None])
        for t, middle in zip(scheduler.timesteps, middles, strict=True):
            scaled = hasattr(scheduler, "scale_model_input")
            shown = scheduler.scale_model_input(x, t) if scaled else x
            prediction = denoiser.predict(shown, t[None], {"middle": middle[None]})
            told = prediction if whole else prediction[:, : x.shape[1]]
            x = scheduler.step(told, t, x).prev_sample
            found.append(x[0])
    return found


def assert_near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Compare to 1e-5, or to 1e-5 of the largest number where latents are larger than a picture."""
    largest = max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * largest)
