"""Transfers: states of ended segments on their way off the device.

On a GPU a round's states are copied to pinned memory and handed out a round later, so that the
device never waits for the host. On a CPU they are available at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import torch

from hierdiff_core.checkpoint import State
from hierdiff_core.plan import Segment


@dataclass(frozen=True)
class Finished:
    """A segment and its final state."""

    segment: Segment
    state: State  # on the CPU
    finite: bool = True  # whether all of its latents are numbers


@dataclass
class _Sending:
    ended: list[tuple[Segment, State, torch.Tensor]] = field(default_factory=list)
    arrival: torch.cuda.Event | None = None  # None where there is no copy to wait for


class Transfers:
    """Copies of finished states; those of `lag` rounds may be in flight at once."""

    def __init__(self, device: torch.device, lag: int | None = None) -> None:
        self.on_gpu = device.type == "cuda"
        self.lag = int(self.on_gpu) if lag is None else lag
        self.filling = _Sending()
        self.sent: deque[_Sending] = deque()

    def put(self, segment: Segment, state: State) -> None:
        """Send off a segment's final state."""
        past = tuple(map(self._send, state.history))
        sent = State(self._send(state.latents), state.step, past) if self.on_gpu else state
        finite = self._send(torch.isfinite(state.latents).all())
        self.filling.ended.append((segment, sent, finite))

    def close_round(self) -> None:
        """Close the round: it has nothing more to send."""
        if self.on_gpu and self.filling.ended:
            self.filling.arrival = torch.cuda.Event()
            self.filling.arrival.record()
        self.sent.append(self.filling)
        self.filling = _Sending()

    def take(self, *, all_of_it: bool = False) -> tuple[Finished, ...]:
        """Return the states of the rounds before the last `lag`, or of all; waits for copies."""
        arrived: list[Finished] = []
        while len(self.sent) > (0 if all_of_it else self.lag):
            sending = self.sent.popleft()
            if sending.arrival is not None:
                sending.arrival.synchronize()
            for segment, state, finite in sending.ended:
                arrived.append(Finished(segment, state, bool(finite)))
        return tuple(arrived)

    def _send(self, tensor: torch.Tensor) -> torch.Tensor:
        if not self.on_gpu:
            return tensor
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(
            tensor, non_blocking=True
        )
