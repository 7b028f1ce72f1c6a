"""Figure 10: the picture of a mean embedding, of its children, and of the prompts below."""

from __future__ import annotations

from functools import partial

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.look_inside import Family
from benchmarks.paper.sheets import draw_sheet
from hierdiff_core.evaluation.page import SectionReport
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.unit import Outcome, Trial


def jobs(study: PaperStudy) -> list[Trial]:
    """See Section."""
    return [family for _, family in _families(study)]


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    title = "Figure 10: mean embeddings"
    made = [(name, each, results.whole(each)) for name, each in _families(study)]
    pictures = {
        f"mean-{name}.png": partial(_draw, name, family, found)
        for name, family, found in made
        if found is not None
    }
    said = (
        "A mean embedding belongs to no prompt, and is never denoised to the end in a plan; here "
        "it is, beside those of the two clusters that it was merged from and the prompts below."
    )
    return SectionReport(title, [said if pictures else "Not made yet."], [], pictures)


def _families(study: PaperStudy) -> list[tuple[str, Family]]:
    steps = max(study.grid.standards.get(study.fast, (study.grid.paper_steps,)))
    chosen = [each for each in study.report if len(each) > 1][:2]
    return [(each.name, Family(each.texts, study.fast, steps)) for each in chosen]


def _draw(name: str, family: Family, found: Outcome) -> bytes:
    leaves = [int(found.facts[f"leaf.{at}"]) for at in range(len(found.pictures) - 3)]
    left = int(found.facts["left"])
    texts = [_short(family.texts[leaf]) for leaf in leaves]
    mean, first, second, *own = found.pictures
    rows = [("first cluster", [first, *own[:left]]), ("second cluster", [second, *own[left:]])]
    under = [["its mean", *texts[:left]], ["its mean", *texts[left:]]]
    rows.insert(0, ("both clusters", [mean]))
    return draw_sheet(
        f"A mean embedding and its children: {name}", rows, below=[["the mean"], *under]
    )


def _short(text: str, width: int = 26) -> str:
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:3]) + (" …" if len(lines) > 3 else "")
