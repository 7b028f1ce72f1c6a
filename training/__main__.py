"""The command that makes the miniature from nothing: `python -m training`.

Knows the command line. Run again after a stop, it goes on from the last checkpoints. One stage may
use several processes: `torchrun --nproc-per-node 2 -m training --only unet`.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed

from hierdiff_core.judges.attributes import save_attribute_judge
from training.export import export
from training.report import contact_sheet, plot_losses
from training.workshop import PLANS, Workshop

STAGES = ("pictures", "autoencoder", "decoder", "clip", "prior", "unet", "judge")


def main() -> None:
    """Train what is missing, then export it, plot the losses and draw a contact sheet."""
    asked = _parser().parse_args()
    torch.set_num_threads(asked.threads)
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo")
    plans = {
        name: replace(
            plan,
            minutes=asked.minutes or plan.minutes,
            compiled=asked.compile,
            begin=asked.begin,
        )
        for name, plan in PLANS.items()
    }
    workshop = Workshop(asked.work, asked.seed, plans, workers=asked.workers)
    if asked.only:
        getattr(workshop, asked.only)
        return
    export(workshop.parts(), asked.out)
    save_attribute_judge(workshop.judge, asked.out / "judge")
    plot_losses(asked.work / "log.jsonl", asked.work / "losses.png")
    contact_sheet(asked.out, asked.work / "sheet.png", seed=asked.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("hierdiff_core/miniature"))
    parser.add_argument("--work", type=Path, default=Path("build/training"), help="checkpoints")
    parser.add_argument("--begin", type=Path, help="a former --work, whose weights to go on from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=STAGES, help="stop after this stage and export nothing")
    parser.add_argument("--minutes", type=float, help="end each training after this wall time")
    parser.add_argument("--compile", action="store_true", help="compile what can be compiled")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    return parser


if __name__ == "__main__":
    main()
