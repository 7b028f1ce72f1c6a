"""A quick run measures everything at tiny sizes, and its page has every figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import ORDER
from benchmarks.__main__ import main

FIGURES = {
    "throughput": "hierdiff over stock, denoising alone",
    "saving": "Seconds beside evaluations",
    "checkpoints": "cost of checkpoints, on against off",
    "first_image": "peak memory of the frontier",
    "cold_start": "process start to first evaluation",
    "equality": "greatest difference of latents between slots 1, 4 and 16",
    "parity": "models within their bound of stock",
    "levels": "ddim: off by the level landed on",
    "calibrated": "excess added by regions",
    "own": "score lost, all sets",
    "picture_spaces": "score lost by CLIP",
    "variants": "diverse-dev, ddim: similarity above that of seeds",
    "choice": "budgets at which the highest score is at least the best tree",
    "sampled": "rank correlation of nights by predicted and measured loss",
    "risk": "score of the default night less that of plain pictures, shop",
    "churn": "unchanged rows with another picture",
    "standing": "splits stand",
    "joined": "joined rows less in a fresh plan",
    "conditionings": "ledger at 2,000 prompts",
    "real_sizes": "models that resume with the same bits",
    "workers": "2 workers: connections at the peak",
    "gpu": "share of the matrix-product peak",
    "profile": "share of the denoiser's calls, shared run",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_quick_run_puts_its_figure_on_the_page(name: str, tmp_path: Path) -> None:
    results, work = tmp_path / "results", tmp_path / "work"
    words = [name, "--quick", "--device", "cpu", "--results", str(results), "--work", str(work)]
    assert main(words) == 0
    page = (results / "README.md").read_text()
    assert FIGURES[name] in page
    assert f"## {name}" in page
    stored = json.loads((results / f"{name}.json").read_text())
    assert stored["quick"]
    assert stored["machine"]["threads"] >= 1


def test_every_benchmark_of_the_sampler_is_tried() -> None:
    assert set(FIGURES) == set(ORDER) - {"planning"}
