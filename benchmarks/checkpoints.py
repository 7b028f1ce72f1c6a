"""What checkpoints cost a night: the same shard with and without them, on real servers.

Measures the worker's own path (`tasks.worker.denoise`) and leaves the checkpoints out of it. A
leaf's end state is its picture, which is stored on both sides; checkpoints are states of splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from benchmarks.errors import DifferentWork
from benchmarks.lab import Lab, clock
from benchmarks.night import SHARD, PlannedNight, open_night
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from benchmarks.pairs import Laps, Spread, alternate
from hierdiff_core.checkpoint import unpack
from hierdiff_core.embedding import stack
from hierdiff_core.models.kandinsky22 import fit, load_encoder, load_networks
from hierdiff_core.sampling.sampler import Job, rounds
from hierdiff_core.solver import make_solver
from tasks.embed import read_conditionings
from tasks.ledger import load_plan, summarise
from tasks.settings import Settings
from tasks.storage import Bucket
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard

TITLE = "Cost of checkpoints: a night's shard with and without them"
ON, OFF, BARE = "with checkpoints", "without checkpoints", "nothing stored"
SAVING = 0.5
SLOTS = 16
_PREFIX = "checkpoints/"


class Unkept(Bucket):
    """A bucket that takes checkpoints and keeps none."""

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        """Store anything else."""
        if key.startswith(_PREFIX):
            return hashlib.sha256(body).hexdigest()
        return super().put(key, body, content_type)


def measure(lab: Lab) -> Outcome:
    """Alternate the shard with checkpoints, without, and with nothing stored at all."""
    prompts, steps, laps = (4, 4, 1) if lab.quick else (64, 20, 15)
    given = {"steps": steps, "saving": SAVING, "slots": SLOTS, "previews": False, "prior_steps": 5}
    with open_night(lab, prompts, **given) as planned:
        lab.say("the night is planned")
        turn = iter(range(1000))
        sides = {
            ON: lambda: _shard(planned, f"on{next(turn)}"),
            OFF: lambda: _without(planned, f"off{next(turn)}"),
            BARE: lambda: _bare(planned, f"bare{next(turn)}"),
        }
        for warm in (sides[ON], sides[BARE]):
            warm()
        found = alternate(sides, laps, lab.say)
    return _outcome(found, prompts, steps)


def _shard(planned: PlannedNight, name: str) -> dict[str, float]:
    """Run the shard as a worker does; return seconds without the loading of weights."""
    with planned.copy(name) as settings:
        return _run(planned, settings)


def _without(planned: PlannedNight, name: str) -> dict[str, float]:
    with planned.copy(name) as settings, _no_packing():
        return _run(planned, settings, keep=False)


@contextmanager
def _no_packing() -> Iterator[None]:
    with patch("tasks.worker.write_batch.pack", lambda states: b""):
        yield


def _run(planned: PlannedNight, settings: Settings, *, keep: bool = True) -> dict[str, float]:
    with open_stores(settings) as stores:
        bucket = stores.bucket
        used = bucket if keep else Unkept(bucket.client, bucket.name, bucket.prefix)
        began = clock()
        denoise_shard(replace(stores, bucket=used), settings, planned.run, SHARD, "benchmark")
        spent = clock() - began
        with stores.session() as session:
            facts, plan = summarise(session, planned.run), load_plan(session, planned.run).plan
        kept = sum(len(unpack(bucket.get(each))) for each in bucket.list(_PREFIX))
    splits = sum(not plan.is_leaf(segment) for segment in plan.segments)
    made = (facts.evaluations_done, facts.images, facts.segments_done, kept)
    wanted = (plan.evaluations, plan.size, len(plan.segments), splits if keep else 0)
    if made != wanted:
        difference = f"evaluations, images, segments and splits kept are {made}, not {wanted}"
        raise DifferentWork(what="a shard", difference=difference)
    return {"seconds": spent - facts.seconds.get("load", 0.0)}


def _bare(planned: PlannedNight, name: str) -> dict[str, float]:
    """Make the same latents and pictures with the sampler alone."""
    with planned.copy(name) as settings, open_stores(settings) as stores:
        with stores.session() as session:
            night = load_plan(session, planned.run)
        found = read_conditionings(stores, [leaf.embedding_key for leaf in night.leaves])
    recipe, device = night.recipe, settings.device
    negative = load_encoder(recipe, device).embed_negative(recipe)
    decoder = fit(load_networks(recipe, device), recipe, negative)
    conditioning = stack([found[leaf.embedding_key] for leaf in night.leaves])
    keys = [leaf.content_key for leaf in night.leaves]
    job = Job(night.plan, conditioning, keys, recipe.seed, recipe.initial_noise, SLOTS)
    began = clock()
    solver = make_solver(recipe.solver, decoder.noise_schedule, recipe.steps)
    for each in rounds(job, decoder, solver):
        for done in each.finished:
            if night.plan.is_leaf(done.segment):
                decoder.decode(done.state.latents[None], [""])
    return {"seconds": clock() - began}


def _outcome(laps: Laps, prompts: int, steps: int) -> Outcome:
    cost = _more(laps.ratio(ON, OFF, "seconds"))
    everything = _more(laps.ratio(ON, BARE, "seconds"))
    rows = [(side, laps.seconds(side, "seconds").median) for side in (ON, OFF, BARE)]
    return Outcome(
        figures=(
            Figure("cost of checkpoints, on against off", cost.median, ".1%", low=cost.low,
                   high=cost.high, goal=Goal(most=0.02)),
            Figure("cost of all that is stored, against nothing stored", everything.median, ".1%",
                   low=everything.low, high=everything.high),
        ),
        tables=(Table("Seconds of the shard", (Column("side"), Column("median", ".2f")), rows),),
        notes=(
            f"{prompts} prompts, {steps} steps, {SAVING:.0%} of evaluations spared, {SLOTS} slots, "
            f"one shard on a real PostgreSQL and a real S3 server of the same machine, "
            f"{len(laps.laps)} alternating laps, each on a copy of the planned night and an empty "
            "bucket. The seconds to load weights are left out.",
            "A checkpoint is the end state of a split; a leaf's end state is its picture. Without "
            "checkpoints nothing is packed and no checkpoint uploaded; pictures and rows are "
            "stored as ever. Nothing stored is the sampler and the decoder alone, a picture at a "
            "time. Previews of splits are switched off on all sides.",
            "The servers and the thread that stores share the cores with the network here; on a "
            "machine with a GPU they run beside it.",
        ),
        data={"laps": laps.to_json()},
    )  # fmt: skip


def _more(ratio: Spread) -> Spread:
    return Spread(tuple(each - 1 for each in ratio.values))
