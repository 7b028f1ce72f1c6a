"""PNG files that say where a picture came from.

The provenance is written to the three places that people and programs read: the `parameters` text
of the common web interfaces, one JSON text of our own, and an XMP packet.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hierdiff_core.markup import xml_text
from hierdiff_core.plan import Plan
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Options, Recipe

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
KEY = "hierdiff"  # of our own JSON text
XMP_KEY = "XML:com.adobe.xmp"
FORMAT = 1  # of the JSON; raised when a field changes its meaning


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where one picture came from."""

    run: str
    reference: str  # the user's own name for the picture
    text: str  # the prompt; empty where it was left out
    recipe: Recipe
    content_key: str  # 64 hex digits
    node_path: tuple[int, ...]  # tree nodes from the root to the leaf
    split_steps: tuple[int, ...]  # steps already taken at each split on that path
    own_evaluations: int  # denoiser evaluations for this picture alone
    shared_evaluations: int  # evaluations that it shared with other pictures


def trace(plan: Plan, leaf: int, *, prompt: Prompt, run: str, content_key: str) -> Provenance:
    """Return the provenance of one leaf's picture, from its path through the plan."""
    path = plan.path(plan.leaf_segment(leaf))
    own = sum(segment.steps for segment in path if segment.size == 1)
    return Provenance(
        run=run,
        reference=prompt.name,
        text=prompt.text,
        recipe=prompt.recipe,
        content_key=content_key,
        node_path=tuple(segment.node for segment in path),
        split_steps=tuple(segment.start for segment in path[1:]),
        own_evaluations=own,
        shared_evaluations=sum(segment.steps for segment in path) - own,
    )


def encode_png(
    pixels: NDArray[np.uint8], provenance: Provenance, *, with_prompt: bool = True
) -> bytes:
    """Return a PNG file of (H, W, 3) pixels that carries its provenance.

    Equal input gives equal bytes. Without the prompt, the negative prompt stays out too; the
    source type (IPTC: made by a trained algorithm) is always written. The path of a local model is
    cut to its last two names, so that no file reveals where it was made.
    """
    facts = _written(provenance, with_prompt=with_prompt)
    height, width = pixels.shape[:2]
    info = PngInfo()
    # All texts come before the pixels: metadata readers stop at the first IDAT.
    info.add_itxt(XMP_KEY, _xmp(facts))
    info.add_text("parameters", _writable(_parameters(facts, width, height)))
    info.add_itxt(KEY, json.dumps(_to_json(facts), sort_keys=True))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", pnginfo=info, compress_level=6)
    return file.getvalue()


def xmp_packet(provenance: Provenance, *, with_prompt: bool = True) -> str:
    """Return the XMP packet that says where a picture came from."""
    return _xmp(_written(provenance, with_prompt=with_prompt))


def _written(provenance: Provenance, *, with_prompt: bool) -> Provenance:
    """Return what is written of a provenance."""
    facts = replace(provenance, recipe=_without_folders(provenance.recipe))
    if with_prompt:
        return facts
    return replace(facts, text="", recipe=replace(facts.recipe, negative_prompt=""))


def read_provenance(body: bytes) -> Provenance | None:
    """Return the provenance that `encode_png` wrote, or None for a PNG that carries none."""
    with Image.open(io.BytesIO(body), formats=("PNG",)) as image:
        text = image.info.get(KEY)
    return None if text is None else _from_json(json.loads(text))


def _to_json(facts: Provenance) -> dict[str, object]:
    fields: dict[str, object] = {
        "format": FORMAT,
        "run": facts.run,
        "reference": facts.reference,
        "content_key": facts.content_key,
        "node_path": facts.node_path,
        "split_steps": facts.split_steps,
        "evaluations": {"own": facts.own_evaluations, "shared": facts.shared_evaluations},
        "recipe": facts.recipe.to_json(),
    }
    return fields | ({"prompt": facts.text} if facts.text else {})


def _from_json(fields: Mapping[str, Any]) -> Provenance:
    return Provenance(
        run=fields["run"],
        reference=fields["reference"],
        text=fields.get("prompt", ""),
        # The first pictures were made when there was one family, and do not name it.
        recipe=Recipe.from_json({"family": "", **fields["recipe"]}),
        content_key=fields["content_key"],
        node_path=tuple(fields["node_path"]),
        split_steps=tuple(fields["split_steps"]),
        own_evaluations=fields["evaluations"]["own"],
        shared_evaluations=fields["evaluations"]["shared"],
    )


def _parameters(facts: Provenance, width: int, height: int) -> str:
    """Return the text that the common web interfaces read back into their forms."""
    recipe = facts.recipe
    settings = {
        "Steps": recipe.steps,
        "Sampler": recipe.solver.upper(),
        "CFG scale": f"{recipe.guidance:g}",
        "Seed": recipe.seed,
        "Size": f"{width}x{height}",
        "Model hash": recipe.revision[:10],
        "Model": recipe.model,
    }
    last = ", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items() if value != "")
    negative = f"Negative prompt: {recipe.negative_prompt}" if recipe.negative_prompt else ""
    return "\n".join(line for line in (facts.text, negative, last) if line)


def _quoted(value: object) -> str:
    # The web interfaces' own rule: JSON quotes where a value contains one of their separators.
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(",:\n") else text


def _xmp(facts: Provenance) -> str:
    """Return the XMP packet: source type always, prompt in the IPTC 2025.1 property if given."""
    properties = {
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
        "Iptc4xmpExt:AISystemUsed": facts.recipe.model,
        "Iptc4xmpExt:AISystemVersionUsed": facts.recipe.revision,
        "Iptc4xmpExt:AIPromptInformation": facts.text,
        "dc:identifier": facts.reference,
        "xmp:CreatorTool": "hierdiff",
    }
    lines = "".join(
        f"<{name}>{xml_text(value)}</{name}>\n" for name, value in properties.items() if value
    )
    return _PACKET.format(properties=lines)


_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
{properties}</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def _writable(text: str) -> str:
    # A zero ends a PNG text and half a surrogate pair has no bytes; the JSON keeps both.
    return text.replace("\x00", " ").encode("utf-8", "replace").decode()


def _without_folders(recipe: Recipe) -> Recipe:
    options = {
        name: _public_name(value) if isinstance(value, str) else value
        for name, value in recipe.options.items()
    }
    return replace(recipe, model=_public_name(recipe.model), options=Options(options))


def _public_name(model: str) -> str:
    path = PurePath(model)
    return "/".join(path.parts[-2:]) if path.is_absolute() else model
