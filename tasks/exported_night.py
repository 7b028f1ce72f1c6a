"""The file of an exported night: its rows, its plan, and the embeddings that steer it.

One safetensors file: the embeddings by their keys, as the ledger keeps them, and in its header one
JSON text with everything else and the digest of both. Nothing of it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import safetensors
import safetensors.torch
import torch

from hierdiff_core.digest import digest
from hierdiff_core.errors import HierdiffError
from hierdiff_core.keys import segment_keys
from hierdiff_core.plan import Plan
from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.recipe import Recipe, compatibility_key
from tasks.errors import BadPlanFile
from tasks.ledger import Leaf, NightPlan, Tree
from tasks.rejected import Rejected

FORMAT = 1  # raised when a field changes its meaning
_ENTRY = "hierdiff-plan"
_REFUSALS = (
    safetensors.SafetensorError,
    HierdiffError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
)


@dataclass(frozen=True)
class ExportedNight:
    """A night that can be run again elsewhere, to the same bits."""

    settings: Mapping[str, Any]  # of the night, as it was asked for; no secret is among them
    prompts: tuple[Prompt, ...]
    rejected: tuple[Rejected, ...]
    plan: NightPlan
    embeddings: Mapping[str, bytes]  # by key: of leaves, of founders, and the negative ones
    run: str | None = None  # that it was; None: it has not been run
    slots: int | None = None  # rows at once of that run, which decide last bits

    def keyed(self) -> ExportedNight:
        """Return the night with its segments' keys, which follow from the rest."""
        night = self.plan
        recipes = [compatibility_key(t.recipe) for t in night.trees for _ in range(t.leaves)]
        keys = segment_keys(night.plan, night.content_keys, recipes, night.text_keys)
        return replace(self, plan=replace(night, keys=keys))


def pack_night(night: ExportedNight) -> bytes:
    """Return the file of a night, equal for equal nights."""
    body = _to_json(night)
    tensors = {
        key: torch.frombuffer(bytearray(packed), dtype=torch.uint8)
        for key, packed in sorted(night.embeddings.items())
    }
    sealed = {"format": FORMAT, "body": body, "digest": _seal(body, night.embeddings)}
    # One entry only: safetensors writes several in a random order.
    return safetensors.torch.save(tensors, {_ENTRY: json.dumps(sealed, sort_keys=True)})


def unpack_night(packed: bytes, file: str) -> ExportedNight:
    """Return the night that `pack_night` wrote; raises BadPlanFile with the name given."""
    sealed = _read_header(packed, file)
    if sealed.get("format") != FORMAT:
        reason = f"it has format {sealed.get('format')}, and this version reads {FORMAT}"
        raise BadPlanFile(file=file, reason=reason)
    try:
        tensors = safetensors.torch.load(packed)
        embeddings = {key: each.numpy().tobytes() for key, each in tensors.items()}
        if sealed["digest"] != _seal(sealed["body"], embeddings):
            raise ValueError("its digest differs")
        night = _from_json(sealed["body"], embeddings).keyed()
        _check(night)
    except _REFUSALS as error:
        raise BadPlanFile(file=file, reason=f"it is damaged ({error})") from None
    return night


def _read_header(packed: bytes, file: str) -> dict[str, Any]:
    """Return our entry of a safetensors header: 8 bytes of length, then JSON."""
    try:
        length = int.from_bytes(packed[:8], "little")
        header = json.loads(packed[8 : 8 + length])
        return dict(json.loads(header["__metadata__"][_ENTRY]))
    except (KeyError, TypeError, ValueError, RecursionError):
        reason = "it is no plan that `hierdiff plan --export` wrote, or is cut off"
        raise BadPlanFile(file=file, reason=reason) from None


def _seal(body: object, embeddings: Mapping[str, bytes]) -> str:
    sums = {key: hashlib.sha256(packed).hexdigest() for key, packed in embeddings.items()}
    return digest("exported night", FORMAT, body, sums)


def _check(night: ExportedNight) -> None:
    """Raise ValueError where the parts of a night do not belong together."""
    plan = night.plan
    wanted = {content_key(each) for each in night.prompts}
    if any(leaf.content_key not in wanted for leaf in plan.leaves):
        raise ValueError("a picture of its plan has no row")
    missing = {leaf.embedding_key for leaf in (*plan.leaves, *plan.guests)} - set(night.embeddings)
    if missing:
        raise ValueError(f"{len(missing)} embeddings are missing")
    segments = plan.plan.segments
    if sorted(each for shard in plan.shards for each in shard) != list(range(len(segments))):
        raise ValueError("its shards are not its segments")


_PROMPT = tuple(field.name for field in fields(Prompt) if field.name not in ("recipe", "anew"))
_PLAN = ("saving_asked", "steps_per_image", "tuned", "shards")


def _to_json(night: ExportedNight) -> dict[str, object]:
    plan, recipes = night.plan, list({each.recipe: None for each in night.prompts})
    number = {recipe: place for place, recipe in enumerate(recipes)}
    body: dict[str, object] = {
        "run": night.run,
        "slots": night.slots,
        "settings": dict(night.settings),
        "recipes": [recipe.to_json() for recipe in recipes],
        "prompts": [
            {name: getattr(each, name) for name in _PROMPT} | {"recipe": number[each.recipe]}
            for each in night.prompts
        ],
        "rejected": [asdict(each) for each in night.rejected],
        "plan": plan.plan.to_json(),
        "trees": [[tree.recipe.to_json(), tree.first_leaf, tree.leaves] for tree in plan.trees],
        "leaves": [list(_leaf(each)) for each in plan.leaves],
        "founders": [list(_leaf(each)) for each in plan.guests],
        **{name: getattr(plan, name) for name in _PLAN},
    }
    return dict(json.loads(json.dumps(body)))


def _from_json(body: Mapping[str, Any], embeddings: Mapping[str, bytes]) -> ExportedNight:
    recipes = [Recipe.from_json(each) for each in body["recipes"]]
    trees = [(Recipe.from_json(recipe), first, size) for recipe, first, size in body["trees"]]
    plan = NightPlan(
        recipe=trees[0][0],
        plan=Plan.from_json(body["plan"]),
        trees=tuple(Tree(compatibility_key(tree[0]), *tree) for tree in trees),
        leaves=tuple(Leaf(*each) for each in body["leaves"]),
        keys=(),
        shards=tuple(map(tuple, body["shards"])),
        saving_asked=body["saving_asked"],
        steps_per_image=body["steps_per_image"],
        tuned=body["tuned"],
        guests=tuple(Leaf(*each) for each in body["founders"]),
    )
    prompts = [Prompt(**{**each, "recipe": recipes[each["recipe"]]}) for each in body["prompts"]]
    rejected = tuple(Rejected(**each) for each in body["rejected"])
    given = (body["settings"], tuple(prompts), rejected, plan, embeddings)
    return ExportedNight(*given, body["run"], body["slots"])


def _leaf(leaf: Leaf) -> tuple[str, str, str, float | None]:
    return leaf.content_key, leaf.embedding_key, leaf.text_key, leaf.loss
