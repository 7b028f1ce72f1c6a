"""Diversity: the similarity of a set's pictures by CLIP, with sharing and without."""

from __future__ import annotations

from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.page import SectionReport, Table, number
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, label
from hierdiff_core.evaluation.unit import Trial


def jobs(study: Study) -> list[Trial]:
    """See Section."""
    return [
        study.unit(prompts, each)
        for prompts in study.sets
        for each in (study.reference, study.typical(prompts))
    ]


def report(study: Study, results: Results) -> SectionReport:
    """See Section."""
    rows, figures = [], dict[str, object]()
    for prompts in study.sets:
        setting = study.typical(prompts)
        before, after = (
            _diversity(study, results, prompts, each) for each in (study.reference, setting)
        )
        rows.append([prompts.name, label(setting), number(before, 3), number(after, 3)])
        figures[prompts.name] = {"standard": before, label(setting): after}
    caption = (
        f"Mean cosine similarity of all pairs of {study.grid.diversity} pictures (all, of smaller "
        "sets) by CLIP's image encoder; lower is more diverse. The miniature is looked at by its "
        "own CLIP."
    )
    columns = ("set", "setting", "standard", "sharing")
    measured = any(row[2] != "–" for row in rows)
    sentences = [] if measured else ["No CLIP was at hand, or nothing was run."]
    return SectionReport("Diversity", sentences, [Table(columns, rows, caption)], figures=figures)


def _diversity(
    study: Study, results: Results, prompts: PromptSet, setting: Setting
) -> float | None:
    found = results.whole(study.unit(prompts, setting))
    return None if found is None else found.facts.get("diversity")
