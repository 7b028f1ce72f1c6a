"""Settings: the ways to make a set's pictures, and their names for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hierdiff_core.solvers import SOLVERS, count_evaluations

STANDARD = "standard"


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to make the pictures of a set; at most one of saving and tau is given."""

    method: str  # STANDARD, or the name of a way to share steps
    solver: str
    steps: int  # K
    saving: float | None = None  # share of the set's evaluations to save
    tau: float | None = None
    initial_noise: str = "root"

    @property
    def shares(self) -> bool:
        """Whether prompts share steps at all."""
        return self.method != STANDARD

    @property
    def evaluations(self) -> int:
        """Evaluations of a picture that shares none."""
        return count_evaluations(self.solver, self.steps)

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return asdict(self)


def label(setting: Setting) -> str:
    """Return a setting's name for people, such as `ward, DDPM 40, saving 70 %`."""
    solver = f"{solver_label(setting.solver)} {setting.steps}"
    if not setting.shares:
        return solver
    asked = "" if setting.saving is None else f", saving {100 * setting.saving:g} %"
    asked += "" if setting.tau is None else f", tau {setting.tau:g}"
    noise = "" if setting.initial_noise == "root" else ", one initial noise"
    return f"{setting.method}, {solver}{asked}{noise}"


def solver_label(name: str) -> str:
    """Return a solver's name for people, such as `DDPM` for `ddpm`."""
    return SOLVERS[name].label if name in SOLVERS else name


def standard(solver: str, steps: int) -> Setting:
    """Return the setting in which every prompt takes every step alone."""
    return Setting(STANDARD, solver, steps)
