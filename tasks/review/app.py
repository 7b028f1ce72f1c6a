"""The page on which a night is reviewed, and what it asks for while it is open."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from hierdiff_core.errors import HierdiffError
from tasks.errors import ChangedPicture, UnknownPicture
from tasks.ledger import record_verdicts
from tasks.object_keys import picture_key, plain_key, preview_key
from tasks.report.template import policy_hash, render, source
from tasks.report.thumbnail import small_copy
from tasks.review.give import Said
from tasks.review.guard import TokenGuard
from tasks.review.night import ReviewNight, ReviewPicture, describe, list_pictures
from tasks.states import VerdictState
from tasks.stores import Stores

_SIDE = 320  # pixels of a small picture
_SMALL = 3000  # small pictures that are kept in memory
# A picture's address names its content, so it never changes.
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_NOT_KEPT = {"Cache-Control": "no-store"}


class SaidInPage(BaseModel):
    """A verdict as the page sends it."""

    name: str = Field(max_length=1000)
    picture: str = Field(max_length=64)  # its id
    verdict: VerdictState
    reason: str = Field(default="", max_length=10_000)


@dataclass(frozen=True)
class Review:
    """A night that somebody reviews."""

    stores: Stores
    night: ReviewNight
    reviewer: str


def make_app(review: Review, token: str) -> FastAPI:
    """Return the application; every request needs the token."""
    app = FastAPI(title="hierdiff review", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(TokenGuard(token))
    app.exception_handler(HierdiffError)(_refuse)
    _serve_night(app, review)
    _serve_pictures(app, review)
    _serve_plain(app, review)
    return app


def _serve_night(app: FastAPI, review: Review) -> None:
    night = review.night

    @app.get("/")
    def page() -> HTMLResponse:
        text, policy = _page(review)
        return HTMLResponse(text, headers={"Content-Security-Policy": policy, **_NOT_KEPT})

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204, headers=_FOREVER)

    @app.get("/night")
    def pictures() -> JSONResponse:
        return JSONResponse(list_pictures(review.stores, night), headers=_NOT_KEPT)

    @app.get("/pictures/{name}")
    def picture(name: str) -> JSONResponse:
        return JSONResponse(describe(review.stores, night, _find(night, name)), headers=_NOT_KEPT)

    @app.post("/verdicts")
    def give(said: SaidInPage) -> dict[str, str]:
        sha256 = _find(night, said.picture).sha256
        words = Said(said.name, said.verdict, said.reason, review.reviewer, sha256)
        verdict = night.named.check(words)
        with review.stores.session() as session:
            record_verdicts(session, night.facts.catalogue, [verdict])
        return {"verdict": verdict.verdict, "reason": verdict.reason, "reviewer": verdict.reviewer}


def _serve_pictures(app: FastAPI, review: Review) -> None:
    bucket = review.stores.bucket
    digests = {each[:16]: each for each in review.night.digests}

    @lru_cache(maxsize=_SMALL)
    def shrink(sha256: str) -> bytes:
        return small_copy(bucket.get(picture_key(sha256), sha256), _SIDE)[0]

    def known(name: str) -> str:
        if name not in digests:
            raise HTTPException(404, "no such picture")
        return digests[name]

    @app.get("/small/{name}")
    def small(name: str) -> Response:
        return Response(shrink(known(name)), media_type="image/webp", headers=_FOREVER)

    @app.get("/full/{name}")
    def full(name: str) -> Response:
        sha256 = known(name)
        body = bucket.get(picture_key(sha256), sha256)
        return Response(body, media_type="image/png", headers=_FOREVER)

    @app.get("/previews/{segment}")
    def preview(segment: int) -> Response:
        sha256 = review.night.previews.get(segment)
        if sha256 is None:
            raise HTTPException(404, "no such preview")
        body = bucket.get(preview_key(sha256), sha256)
        return Response(body, media_type="image/webp", headers=_FOREVER)


def _serve_plain(app: FastAPI, review: Review) -> None:
    bucket = review.stores.bucket
    plain = {each[:16]: each for each in review.night.plain}

    @app.get("/plain/{name}")
    def without_sharing(name: str) -> Response:
        if name not in plain:
            raise HTTPException(404, "no such picture")
        body = bucket.get(plain_key(plain[name]), plain[name])
        return Response(body, media_type="image/png", headers=_FOREVER)


def _page(review: Review) -> tuple[str, str]:
    """Return the page and the policy that allows it nothing but itself."""
    style, script = source("report.css", "review.css"), source("review.js")
    facts = review.night.facts
    text = render(
        "review.html.j2", facts=facts, reviewer=review.reviewer, style=style, script=script
    )
    allowed = {
        "default-src": "'none'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "style-src": f"'sha256-{policy_hash(style)}'",
        "script-src": f"'sha256-{policy_hash(script)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return text, "; ".join(f"{name} {value}" for name, value in allowed.items())


def _find(night: ReviewNight, name: str) -> ReviewPicture:
    if name not in night.pictures:
        raise HTTPException(404, "no such picture")
    return night.pictures[name]


async def _refuse(request: Request, fault: Exception) -> JSONResponse:
    code = 409 if isinstance(fault, ChangedPicture | UnknownPicture) else 503
    return JSONResponse({"detail": str(fault)}, code)
