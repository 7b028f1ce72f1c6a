"""What holds for the house as a whole: one name, one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("hierdiff_core", "tasks", "flows", "migrations")


def test_no_two_modules_define_a_public_class_of_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for folder in PRODUCT:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_only_models_name_a_model_family_in_code() -> None:
    """Outside `models` no product file imports a family or reads its options by name."""
    found = []
    for folder in PRODUCT[:3]:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if (ROOT / "hierdiff_core/models") in file.parents:
                continue
            text = file.read_text()
            found += [
                f"{file.relative_to(ROOT)}: {word}"
                for word in ("kandinsky22", "stable_diffusion", "prior_steps", "prior_guidance")
                if word in text
            ]
    assert found == []
