"""The content of a report of one night: plain records, and what follows from them by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from hierdiff_core.plan import Plan
from tasks.ledger import PartEnergy
from tasks.losses import Losses, sum_up
from tasks.measured import MeasuredPairs
from tasks.rejected import Rejected, RejectedKind, RejectedOften, by_kind
from tasks.report.expense import Expense, cost_of, kwh, share_out
from tasks.saving import Spending


@dataclass(frozen=True, slots=True)
class ReportImage:
    """One leaf of the plan: a picture, or the place where it is missing."""

    leaf: int
    references: tuple[str, ...]  # everyone who asked for it; equal prompts share a picture
    prompt: str
    made: bool = True
    thumbnail: bytes = b""  # small PNG, JPEG or WebP; empty where there is none
    link: str = ""  # of the full picture, http(s) or relative to the report
    flat: bool = False  # of one colour, which is hardly what was asked for
    loss: float | None = None  # predicted, a share of what a plain picture misses


@dataclass(frozen=True, slots=True)
class ReportSubtree:
    """One shard of the plan, as it was run."""

    shard: int  # 0 is the trunk
    state: str  # waiting, running, completed, incomplete or failed
    images: int
    evaluations_planned: int
    evaluations_done: int
    evaluations_resumed: int  # found in storage instead of computed
    attempts: int
    seconds: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ReportPair:
    """A picture of the sample beside the one that was made without sharing."""

    leaf: int
    reference: str
    prompt: str
    shared: bytes = b""  # small pictures; empty where there is none
    plain: bytes = b""
    loss: float | None = None  # measured
    predicted: float | None = None
    distance: float | None = None  # 1 - cosine


@dataclass(frozen=True, slots=True)
class ReportSetAside:
    """A row whose picture failed alone."""

    row: int
    reference: str
    attempts: int  # that failed
    reason: str  # of the last one


@dataclass(frozen=True, slots=True)
class ReportStage:
    """How long one stage took, on which device."""

    name: str
    seconds: float
    device: str = ""


@dataclass(frozen=True)
class ReportData:
    """One night."""

    run: str
    catalogue: str
    business_date: date
    state: str  # planned, running, completed or failed
    plan: Plan
    images: tuple[ReportImage, ...]  # one for each leaf, in any order
    subtrees: tuple[ReportSubtree, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    set_aside: tuple[ReportSetAside, ...] = ()
    rejected_often: tuple[RejectedOften, ...] = ()  # rows that wait for a person
    pairs: tuple[ReportPair, ...] = ()  # of the sample, the worst first
    measured: MeasuredPairs | None = None
    stages: tuple[ReportStage, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    previews: Mapping[int, bytes] = field(default_factory=dict)  # by segment: small, decoded
    seconds: float | None = None  # from the first stage's start to the last one's end
    gpu_seconds: float | None = None  # that are paid for; None: the same as `seconds`
    price_per_hour: float | None = None  # of one GPU
    energy: tuple[PartEnergy, ...] = ()  # of the workers; none: nothing is known of it
    kwh_price: float | None = None
    accepted: int = 0  # pictures that a person accepted
    currency: str = "USD"
    spent: int = 0  # evaluations: on a device and found done by earlier nights
    reused: int = 0  # of these, done by earlier nights
    kept: int = 0  # pictures made by earlier nights
    bound: float | None = None  # HIERDIFF_LOSS as the night was asked for
    nothing_shared: str = ""  # why the plan shares nothing, and what would
    links_end: date | None = None  # day until which the links of the pictures work; None: for good

    @property
    def made(self) -> tuple[ReportImage, ...]:
        """Pictures that exist."""
        return tuple(image for image in self.images if image.made)

    @property
    def missing(self) -> tuple[ReportImage, ...]:
        """Pictures that do not exist yet."""
        return tuple(image for image in self.images if not image.made)

    @property
    def rejected_kinds(self) -> tuple[RejectedKind, ...]:
        """The rejected rows, once for each reason."""
        return by_kind(self.rejected)

    @property
    def flat(self) -> tuple[ReportImage, ...]:
        """Pictures of one flat colour."""
        return tuple(image for image in self.images if image.flat)

    @property
    def losses(self) -> Losses | None:
        """What the pictures are predicted to lose; None where nothing predicts it."""
        return sum_up([image.loss for image in self.images], self.bound)

    @property
    def worst(self) -> tuple[ReportImage, ...]:
        """Pictures that are predicted to lose something, the worst first."""
        losing = [image for image in self.images if image.loss]
        return tuple(sorted(losing, key=lambda image: -(image.loss or 0.0)))

    @property
    def asked(self) -> int:
        """Prompts that the pictures are for, duplicates included."""
        return sum(max(1, len(image.references)) for image in self.images)

    @property
    def resumed(self) -> int:
        """Evaluations found in storage instead of computed."""
        return sum(subtree.evaluations_resumed for subtree in self.subtrees)

    @property
    def troubled(self) -> tuple[ReportSubtree, ...]:
        """Subtrees that failed or have an error."""
        return tuple(each for each in self.subtrees if each.state == "failed" or each.error)

    @property
    def spending(self) -> Spending:
        """The evaluations planned and spent."""
        return Spending(self.plan.evaluations, self.plan.evaluations_standard, self.spent)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be done."""
        return not self.missing and not any(
            each.state in ("failed", "incomplete") for each in self.subtrees
        )

    @property
    def cost(self) -> float | None:
        """Price of the GPU time and of the energy, where a price is set."""
        spent = self.seconds if self.gpu_seconds is None else self.gpu_seconds
        return cost_of(spent, kwh(self.energy), self.price_per_hour, self.kwh_price)

    def expense(self, total: float) -> Expense:
        """Return an amount that the night took, by picture."""
        return share_out(
            total,
            spending=self.spending,
            evaluations=max(0, self.spent - self.reused),
            pictures=len(self.made) - self.kept,
            accepted=self.accepted,
        )

    @property
    def retry(self) -> str:
        """The command that makes what is missing."""
        return f"hierdiff retry {self.run}"
