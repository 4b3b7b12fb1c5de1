"""Idempotency keys: the same over attempts and restarts, new for an operator's retry.

Step key = base32 (RFC 4648, lower case, no padding) of the first 20 bytes of SHA-256 over
``awe-idem-v1``, run, path and epoch, joined by NUL: 32 characters that say nothing.
"""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256

UNDO = "-undo"  #: after an effect's id or key: what takes it back


def step_key(run_id: str, path: str, epoch: int) -> str:
    """Give the key of one step in one epoch."""
    told = f"awe-idem-v1\0{run_id}\0{path}\0{epoch}"
    return b32encode(sha256(told.encode()).digest()[:20]).decode().lower()


def effect_key(step: str, name: int | str, *, taken_back: int = 0) -> str:
    """Give the key of an effect of the step with key *step*.

    :param name: its ordinal, or the handler's own label where the order varies
    :param taken_back: how often this effect was taken back: the far side would answer a used key
        from memory and do nothing, so each time makes a new one
    """
    return f"{step}-{name}" + (f"~{taken_back}" if taken_back else "")


def undo_key(effect: str) -> str:
    """Give the key under which the effect with key *effect* is taken back."""
    return effect + UNDO
