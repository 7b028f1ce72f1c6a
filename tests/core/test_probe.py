"""The probe doubles the slots while that pays, told by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from hierdiff_core.embedding import Conditioning
from hierdiff_core.probe import probe_slots
from hierdiff_core.solver import NoiseSchedule

ROW = Conditioning({"embeds": torch.ones(3, 5)})


class Timed:
    """A device whose calls take a fixed time and a time for each row."""

    latent_shape, device = (4, 2, 2), torch.device("cpu")
    noise_schedule, slots = NoiseSchedule("diffusion", {}), ()
    decode = None

    def __init__(self, call: float, row: float, holds: int = 10**6) -> None:
        self.call, self.row, self.holds = call, row, holds
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        rows = len(latents)
        assert timesteps.shape == (rows,)
        assert conditioning["embeds"].shape == (rows, 5)
        if rows > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.now += self.call + self.row * rows
        return latents


@pytest.mark.parametrize(
    ("call", "row", "holds", "most", "slots"),
    [
        (1.0, 1.0, 10**6, 1000, 16),  # 4/5, 8/9, 16/17, and then 32/33, less than 5 % more
        (1.0, 0.0, 10**6, 100, 64),  # rows cost nothing: as many as are allowed
        (1.0, 0.0, 20, 100, 16),  # the memory ends
        (0.0, 1.0, 10**6, 100, 4),  # wider is no faster
        (1.0, 0.0, 10**6, 3, 3),  # fewer rows than are tried first
        (1.0, 0.0, 10**6, 1, 1),
    ],
)
def test_slots_are_doubled_while_that_brings_five_percent(
    call: float, row: float, holds: int, most: int, slots: int
) -> None:
    device = Timed(call, row, holds)
    probe = probe_slots(device, ROW, most, device.clock)  # type: ignore[arg-type]
    assert probe.slots == slots
    assert probe.rates[slots] == pytest.approx(slots / (call + row * slots))
