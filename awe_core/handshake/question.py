"""What the question of one call binds and shows: its digest and the engine's own words for it.

Written from the effects plan, the same for all channels; no sentence of an agent or a pack is in
it (50-handshake, sections 1 and 2).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from awe_core import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.values import JsonObject

_PREFIX = b"awe:call:v1\n"
_SHOWN = 3  #: first values of a phrase
_CUT = 80  #: characters of one value in a summary


def call_digest(  # noqa: PLR0913 - the members that an approval covers; any drift of one voids it
    *,
    capability: str,
    version: str,
    pack: str,
    arguments: bytes,
    workspace: str,
    preimages: Sequence[JsonObject],
) -> str:
    """``sha256:`` and the hex SHA-256 over one exact call.

    :param pack: digest of the approved record
    :param arguments: canonical form; exact, defaults applied, sensitive ones as their keyed MAC
    :param workspace: deployment id and workspace id
    :param preimages: {path, kind, sha256 or "absent", mode} of all it may change
    """
    begin, middle, end = _around(capability, version, pack, workspace)
    images = sorted(preimages, key=lambda p: str(p["path"])) if preimages else []
    call = begin + arguments + middle + canonical.value(images) + end
    return "sha256:" + hashlib.sha256(call).hexdigest()


@lru_cache(1024)
def _around(capability: str, version: str, pack: str, workspace: str) -> tuple[bytes, bytes, bytes]:
    """Write what is the same for every call: the members around the arguments and pre-images."""
    before = canonical.value({"capability": capability, "pack": pack})[1:-1]
    after = canonical.value({"version": version, "workspace": workspace})[1:]
    return _PREFIX + b'{"arguments":', b"," + before + b',"preimages":', b"," + after


def summary(effects: Sequence[JsonObject]) -> tuple[JsonObject, ...]:
    """Give a phrase per effect: its kind, how many targets, the first of them."""
    return tuple(
        {"phrase": kind, "count": len(targets), "first": [_cut(t) for t in targets[:_SHOWN]]}
        for effect in effects
        for kind, fields in effect.items()
        for targets in [_targets(fields)]
    )


def _targets(fields: JsonObject) -> list[str]:
    for key in ("paths", "hosts", "programs", "names"):
        if key in fields:
            return [str(target) for target in fields[key]]
    return []


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else text[: _CUT - 1] + "…"
