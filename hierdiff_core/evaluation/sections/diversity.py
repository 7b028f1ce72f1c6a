"""Diversity: how alike the pictures of a set are to CLIP, with sharing and without."""

from __future__ import annotations

from hierdiff_core.evaluation.grid import PAPER_METHOD, Study
from hierdiff_core.evaluation.looks import Job
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, label
from hierdiff_core.evaluation.told import Table, Told, number

_PAPER = {
    "GenAI-Bench": "0.608 → 0.603",
    "Prompt Template": "0.651 → 0.649",
    "Style Variations": "0.807 → 0.837",
    "Animals": "0.665 → 0.655",
}


def jobs(study: Study) -> list[Job]:
    """See Section."""
    return [
        study.unit(prompts, each)
        for prompts in study.report
        for each in (study.reference, *_shared(study, prompts))
    ]


def tell(study: Study, results: Results) -> Told:
    """See Section."""
    rows, figures = [], dict[str, object]()
    for prompts in study.report:
        before = _diversity(study, results, prompts, study.reference)
        for setting in _shared(study, prompts):
            after = _diversity(study, results, prompts, setting)
            paper = _PAPER.get(prompts.paper, "–")
            rows.append([prompts.name, label(setting), number(before, 3), number(after, 3), paper])
            figures.setdefault(prompts.name, {"standard": before})
            figures[prompts.name][label(setting)] = after  # type: ignore[index]
    caption = (
        f"Mean cosine similarity of all pairs of {study.grid.diversity} pictures (all, of smaller "
        "sets) by CLIP's image encoder; lower is more diverse. The miniature is looked at by its "
        "own CLIP."
    )
    columns = ("set", "setting", "standard", "sharing", "paper")
    told = (
        [] if any(row[2] != "–" for row in rows) else ["No CLIP was at hand, or nothing was run."]
    )
    return Told("Diversity", told, [Table(columns, rows, caption)], figures=figures)


def _shared(study: Study, prompts: PromptSet) -> list[Setting]:
    solver, K = study.paper_solver, study.grid.paper_steps
    saving = prompts.paper_saving or 0.5
    return [Setting(PAPER_METHOD, solver, K, saving=saving)]


def _diversity(
    study: Study, results: Results, prompts: PromptSet, setting: Setting
) -> float | None:
    found = results.whole(study.unit(prompts, setting))
    return None if found is None else found.facts.get("diversity")
