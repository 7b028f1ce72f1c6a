"""The batch: the slots' tensors on the device, and one call of the denoiser for some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hierdiff_core.checkpoint import State
from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Members
from hierdiff_core.errors import CorruptCheckpoint
from hierdiff_core.keys import node_key
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.plan import Plan, Segment
from hierdiff_core.sampling.ready_queue import Row
from hierdiff_core.sampling.renewal import levels_of, renew
from hierdiff_core.sampling.step import advance
from hierdiff_core.solver import Solver


@dataclass(frozen=True)
class NoiseSource:
    """All that decides a row's noise."""

    plan: Plan
    content_keys: Sequence[str]  # per leaf
    seed: int
    shared: bool  # one initial draw for all roots
    given: torch.Tensor | None = None  # (N, *latent_shape) instead of the roots' draws
    text_keys: Sequence[str] = ()  # per leaf, where some are variants; see `node_key`
    names: Sequence[str] = ()  # per segment, instead of its content key

    def is_variant(self, segment: Segment) -> bool:
        """Whether a segment is a variant's own."""
        leaf = self.plan.order[segment.first]
        own = bool(self.text_keys) and self.plan.is_leaf(segment)
        return own and self.content_keys[leaf] != self.text_keys[leaf]

    def key(self, segment: Segment) -> str:
        """Return the key by which a segment draws noise."""
        if self.names:
            return self.names[segment.id]
        return node_key(self.plan, segment, self.content_keys, self.text_keys)


class RowBatch:
    """Slots on the device; a call takes any of them, padded to a given width."""

    def __init__(
        self,
        slots: int,
        denoiser: Denoiser,
        solver: Solver,
        conditioning: Members,
        draws: NoiseSource,
    ) -> None:
        self.denoiser, self.solver = denoiser, solver.to(denoiser.device)
        self.conditioning, self.draws = conditioning, draws
        self.device, self.on_gpu = denoiser.device, denoiser.device.type == "cuda"
        self.keys: list[str] = [""] * slots  # of the nodes, where noise is drawn
        self.latents = torch.zeros(slots, *denoiser.latent_shape, device=self.device)
        self.levels = levels_of(solver, denoiser.noise_schedule)
        self.history = tuple(torch.zeros_like(self.latents) for _ in range(solver.history_size))
        self.steering = {
            name: torch.zeros(slots, *tensor.shape[1:], dtype=tensor.dtype, device=self.device)
            for name, tensor in conditioning.blank().tensors.items()
        }

    def place(self, row: Row, above: State | None) -> None:
        """Put a row's state and conditioning into its slot; without a state it starts from noise.

        Raises CorruptCheckpoint for a state without the solver's past predictions.
        """
        self.keys[row.slot] = self._key(row.segment)
        state = self._initial(row) if above is None else above
        if len(state.history) != len(self.history):
            reason = f"it holds {len(state.history)} past predictions, not {len(self.history)}"
            parent = row.segment.parent
            raise CorruptCheckpoint(key=f"of segment {parent}", reason=reason, segment=parent)
        self.latents[row.slot] = self._send(state.latents)
        for past, kept in zip(self.history, state.history, strict=True):
            past[row.slot] = self._send(kept)
        founders = self.draws.plan.founders(row.segment)
        mean = self.conditioning.mean(founders, self.denoiser.slots)
        for name, tensor in mean.tensors.items():
            self.steering[name][row.slot] = self._send(tensor[0])

    def step(self, rows: Sequence[Row], width: int) -> None:
        """Let rows take one step in one call; those that pad it are copies of the first."""
        count, padded = len(rows), [*rows, *[rows[0]] * (width - len(rows))]
        places = [[row.slot for row in padded], [row.step for row in padded]]
        slots, steps = self._send(torch.tensor(places))
        before = self.latents[slots]
        latents, history, prediction = advance(
            self.denoiser,
            self.solver,
            before,
            tuple(past[slots] for past in self.history),
            steps,
            {name: tensor[slots] for name, tensor in self.steering.items()},
            self._noise(rows, width) if self.solver.draws_noise else None,
        )
        if renewed := [place for place, row in enumerate(rows) if self._is_renewed(row)]:
            x0 = self.solver.predicted_x0(before, prediction, steps)[renewed]
            chosen = [rows[place] for place in renewed]
            latents[renewed] = self._renew(before[renewed], x0, chosen)
        self.latents[slots[:count]] = latents[:count]
        for past, new in zip(self.history, history, strict=True):
            past[slots[:count]] = new[:count]

    def step_blank(self, width: int) -> None:
        """Take a step of rows without content, of the same shape; the outcome is dropped."""
        shape = (width, *self.denoiser.latent_shape)
        zeros = torch.zeros(shape, device=self.device)
        advance(
            self.denoiser,
            self.solver,
            zeros,
            tuple(torch.zeros_like(zeros) for _ in self.history),
            torch.zeros(width, dtype=torch.int64, device=self.device),
            {
                name: tensor.new_zeros(width, *tensor.shape[1:])
                for name, tensor in self.steering.items()
            },
            torch.zeros_like(zeros) if self.solver.draws_noise else None,
        )

    def states(self, rows: Sequence[Row]) -> list[State]:
        """Return the current states of rows, on the device."""
        last = self.draws.plan.steps
        # No step follows the last one, so its history is not needed.
        return [
            State(
                self.latents[row.slot].clone(),
                row.step,
                tuple(past[row.slot].clone() for past in self.history if row.step < last),
            )
            for row in rows
        ]

    def _send(self, tensor: torch.Tensor) -> torch.Tensor:
        # A copy from pinned memory is asynchronous; any other waits for the device.
        if self.on_gpu and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _is_renewed(self, row: Row) -> bool:
        """Whether a row takes a step of a variant that has left a split; the last is the solver's.

        One that starts from noise has noise of its own already.
        """
        parted = row.segment.parent is not None and row.step + 1 < self.draws.plan.steps
        return parted and not self.solver.draws_noise and self.draws.is_variant(row.segment)

    def _renew(self, latents: torch.Tensor, x0: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        steps = torch.tensor([row.step for row in rows])
        before, after = (self._send(self.levels[:, each]) for each in (steps, steps + 1))
        return renew(latents, x0, self._noise(rows, len(rows)), before, after)

    def _key(self, segment: Segment) -> str:
        variant = self.draws.is_variant(segment)
        drawn = self.solver.draws_noise or segment.parent is None or variant
        return self.draws.key(segment) if drawn else ""

    def _initial(self, row: Row) -> State:
        if self.draws.given is not None:
            noise = self.draws.given[min(self.draws.plan.founders(row.segment))]
        else:
            # Variants that share no step would be one picture.
            shared = self.draws.shared and not self.draws.is_variant(row.segment)
            key = "shared" if shared else self.keys[row.slot]
            noise = initial_noise(self.draws.seed, key, self.denoiser.latent_shape)
        # Zeros rather than the slot's old values, which may not be finite.
        history = tuple(torch.zeros_like(noise) for _ in self.history)
        return State(noise * self.solver.initial_scale, row.segment.start, history)

    def _noise(self, rows: Sequence[Row], width: int) -> torch.Tensor:
        shape = self.denoiser.latent_shape
        noise = torch.zeros(width, *shape)
        for place, row in enumerate(rows):
            noise[place] = step_noise(self.draws.seed, self.keys[row.slot], row.step, shape)
        return self._send(noise)
