"""Table 2: the tree against random embeddings, both brought to the standard run's score."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.prompt_sets import PaperSet
from benchmarks.paper.sections.emergence import mean_scores, watch_of
from benchmarks.paper.verdicts import against_random, undecided
from hierdiff_core.evaluation.frontier import Measured, largest_within, saving_at_equal_score
from hierdiff_core.evaluation.grid import PAPER_METHOD
from hierdiff_core.evaluation.page import SectionReport, Table, percent, share
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.unit import Trial

_PAPER = {
    "GenAI-Bench": "50 % / 5.4 %",
    "Prompt Template": "69 % / 5.5 %",
    "Style Variations": "74 % / 4.0 %",
    "Animals": "63 % / 4.9 %",
}


def jobs(study: PaperStudy) -> list[Trial]:
    """See Section."""
    settings = [study.reference, *study.paper_sharing(), *_random(study)]
    return [study.unit(prompts, each) for prompts in _sets(study) for each in settings]


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    rows, sentences, figures = [], [], dict[str, object]()
    for prompts in _sets(study):
        reference = results.measured(study, prompts, study.reference)
        tree = results.all_measured(study, prompts, study.paper_sharing())
        blind = results.all_measured(study, prompts, _random(study))
        if reference is None or not tree or not blind:
            sentences.append(f"`{prompts.name}`: not measured yet.")
            continue
        ours, blindly = (saving_at_equal_score(each, reference) for each in (tree, blind))
        largest = [largest_within(each, reference) for each in (tree, blind)]
        within = [
            "none" if each is None else percent(1 - each.per_image / reference.per_image)
            for each in largest
        ]
        sentences.append(against_random(prompts, ours, blindly, _alike(tree, blind)))
        paper = _PAPER.get(prompts.paper, "–")
        rows.append([prompts.name, share(ours), share(blindly), *within, paper])
        figures[prompts.name] = {
            "tree": ours.to_json(),
            "random": blindly.to_json(),
            "points": {
                each.setting.method + f" {each.setting.saving:g}": each.mean
                for each in (*tree, *blind)
            },
        }
    sentences += _cause(study, results)
    columns = ("set", f"{PAPER_METHOD}, equal score", "random, equal score",
               f"{PAPER_METHOD}, not told apart", "random, not told apart", "paper")  # fmt: skip
    caption = (
        "Evaluations saved over the reference: at equal mean score (with 95 % intervals), and the "
        "largest measured saving whose score cannot be told from the reference's."
    )
    title = "Table 2: the tree against random embeddings"
    return SectionReport(title, sentences, [Table(columns, rows, caption)], figures=figures)


def _alike(tree: Sequence[Measured], blind: Sequence[Measured]) -> tuple[Measured, Measured] | None:
    """Return both at the largest saving that was measured of both."""
    found = {each.setting.saving: each for each in tree}
    pairs = [(found[each.setting.saving], each) for each in blind if each.setting.saving in found]
    return max(pairs, key=lambda pair: pair[0].setting.saving or 0.0, default=None)


def _cause(study: PaperStudy, results: Results) -> list[str]:
    """Return what the reference's own steps say of it, where they were looked at."""
    watch = watch_of(study)
    found = None if watch is None else results.whole(watch)
    return [] if found is None else [undecided(mean_scores(found))]


def _sets(study: PaperStudy) -> list[PaperSet]:
    return [each for each in study.report if each.paper in _PAPER or not each.paper]


def _random(study: PaperStudy) -> list[Setting]:
    solver, K = study.paper_solver, study.grid.paper_steps
    return [Setting("random", solver, K, saving=each) for each in study.grid.random_savings]
