"""Addresses as they may be shown."""

from __future__ import annotations

import re

_ACCOUNT = re.compile(r"(?<=//)[^/\s@]*@")


def without_accounts(text: str) -> str:
    """Return a text whose web addresses show no user and no password."""
    return _ACCOUNT.sub("", text)
