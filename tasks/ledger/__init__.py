"""The ledger: what a night is made of and how far each part of it has come.

Every function takes a session and neither commits nor rolls back. An object is stored before its
row is written, never the reverse, so a row is a promise that the object is there.
"""

from tasks.ledger.catalogues import find_tuned, forget_tuned, keep_tuned
from tasks.ledger.claims import (
    Night,
    catalogue_of,
    claim_night,
    find_night,
    has_nights,
    load_prompts,
    load_rejected,
    load_run_prompts,
    store_prompts,
)
from tasks.ledger.embeddings import find_embeddings, store_embeddings
from tasks.ledger.images import StoredImage, load_images, record_images
from tasks.ledger.leases import Lease, release_lease, renew_lease, take_lease
from tasks.ledger.night_leases import NightLease, release_night, renew_night, take_night
from tasks.ledger.plans import load_nodes, load_plan, store_plan
from tasks.ledger.repair import (
    forget_images,
    forget_segment,
    reject_prompts,
    reopen_subtrees,
    shards_of,
)
from tasks.ledger.requests import (
    Request,
    digest_rows,
    find_request,
    find_run_settings,
    note_rows,
    note_settings,
    replace_night,
    row_facts,
)
from tasks.ledger.runs import (
    RunLine,
    add_evaluations,
    end_run,
    find_carrier,
    find_night_run,
    find_run,
    find_slots,
    keep_slots,
    list_runs,
    note_flow_run,
    note_resumed,
    open_subtrees,
    record_metric,
    seconds_per_pixel,
    set_run_state,
)
from tasks.ledger.segments import (
    Stored,
    StoredSegment,
    finish_segments,
    start_segments,
    stored_segments,
)
from tasks.ledger.standing import find_like, load_standing
from tasks.ledger.stored_plan import Leaf, NightPlan, Node, Tree, tree_nodes
from tasks.ledger.summary import RunSummary, SubtreeLine, summarise

__all__ = [
    "Leaf",
    "Lease",
    "Night",
    "NightLease",
    "NightPlan",
    "Node",
    "Request",
    "RunLine",
    "RunSummary",
    "Stored",
    "StoredImage",
    "StoredSegment",
    "SubtreeLine",
    "Tree",
    "add_evaluations",
    "catalogue_of",
    "claim_night",
    "digest_rows",
    "end_run",
    "find_carrier",
    "find_embeddings",
    "find_like",
    "find_night",
    "find_night_run",
    "find_request",
    "find_run",
    "find_run_settings",
    "find_slots",
    "find_tuned",
    "finish_segments",
    "forget_images",
    "forget_segment",
    "forget_tuned",
    "has_nights",
    "keep_slots",
    "keep_tuned",
    "list_runs",
    "load_images",
    "load_nodes",
    "load_plan",
    "load_prompts",
    "load_rejected",
    "load_run_prompts",
    "load_standing",
    "note_flow_run",
    "note_resumed",
    "note_rows",
    "note_settings",
    "open_subtrees",
    "record_images",
    "record_metric",
    "reject_prompts",
    "release_lease",
    "release_night",
    "renew_lease",
    "renew_night",
    "reopen_subtrees",
    "replace_night",
    "row_facts",
    "seconds_per_pixel",
    "set_run_state",
    "shards_of",
    "start_segments",
    "store_embeddings",
    "store_plan",
    "store_prompts",
    "stored_segments",
    "summarise",
    "take_lease",
    "take_night",
    "tree_nodes",
]
