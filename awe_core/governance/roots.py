"""Roots as people write them: ``root.yaml``, a line a key, and the signed document it becomes.

Nobody copies digests by hand: a key is written with its scheme, its id is computed, and what a key
that leaves has signed so far is looked up in the store.  A date in a statement is whatever the
key's thief wrote, so exact digests go on counting and nothing else does (``left``), or nothing does
(``compromised``).  `losses` tells what a rotation costs before anybody signs it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.documents import read
from awe_core.errors import TrustError
from awe_core.governance.survey import lacks, read_statements
from awe_core.governance.views import as_yaml
from awe_core.records import Retired, Root
from awe_core.trust import Chain, check_root, envelopes, keyid_of, root_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from awe_core.errors import AweError
    from awe_core.governance.survey import SubjectState
    from awe_core.records import Digest, Seconds
    from awe_core.trust import Signed, StoreBytes
    from awe_core.values import JsonObject

_PARTS = {"people": "person", "machines": "machine"}
_HEAD = """\
# The root of trust: whose keys may do what.  Each person runs `awe trust key` and gives the line it
# prints; then: awe trust rotate    (checks this file, and says what it changes)
#                awe trust sign {file}    (each of those who hold the role root)
"""


def read_root(
    text: bytes, *, file: str, chain: Chain | None, statements: Iterable[Signed] = ()
) -> Root:
    """Read a root as people wrote it.

    :param chain: the roots so far; None: it is the first
    :param statements: everything signed under them
    :raises DocumentError: with file, line and column
    :raises TrustError: ``trust.root_key``, ``.root_threshold``, ``.root_policy``, ``.lifetime``,
        ``.root_version``
    """
    draft: JsonObject = dict(read("root", text, file=file).value)
    document: JsonObject = {**draft, "awe": Root.awe, "keys": {}}
    roles = defaultdict[str, list[str]](list, {role: [] for role in draft.get("thresholds", {})})
    for part, kind in _PARTS.items():
        for owner, keys in document.pop(part, {}).items():
            for one in keys:
                scheme, _, public = one["key"].partition(":")
                keyid = keyid_of(scheme, bytes.fromhex(public))
                if keyid in document["keys"]:
                    why = f"{document['keys'][keyid]['owner']} has the same key"
                    raise TrustError("trust.root_key", keyid=keyid[:12], owner=owner, why=why)
                about = {"scheme": scheme, "public": public, "owner": owner, "kind": kind}
                document["keys"][keyid] = about
                for role in one["roles"]:
                    roles[role].append(keyid)
    needed = document.pop("thresholds", {})
    document["roles"] = {
        role: {"keys": sorted(keys), "threshold": needed.get(role, 1)}
        for role, keys in roles.items()
    }
    document["retired"] = {}
    root = Root.from_json(document, at=file)
    following = chain.current.version + 1 if chain else 1
    if root.version != following:
        raise TrustError("trust.root_version", file=file, found=root.version, next_one=following)
    if chain is not None:
        leaving = _retired(draft.get("retired", {}), root, chain, list(statements))
        root = attrs.evolve(root, retired=leaving)
    check_root(root, at=file)
    return root


def first_root(store: StoreBytes) -> Digest:
    """Give the digest by which the first root of *store* is pinned.

    :raises TrustError: ``store.missing``, ``trust.envelope``
    """
    file = root_file(1)
    if file not in store:
        raise TrustError("store.missing", file=file)
    return envelopes.parse(store[file], "trust-root", at=file).digest


def write_root(root: Root, *, file: str) -> bytes:
    """Write *root* as people edit it."""
    document = root.to_json()
    keys: dict[str, dict[str, list[JsonObject]]] = {part: {} for part in _PARTS}
    for keyid, key in sorted(root.keys.items(), key=lambda each: each[1].owner):
        part = next(name for name, kind in _PARTS.items() if kind == key.kind)
        held = [name for name, role in root.roles.items() if keyid in role.keys]
        one: JsonObject = {"key": f"{key.scheme}:{key.public}", "roles": held}
        keys[part].setdefault(key.owner, []).append(one)
    thresholds = {name: role.threshold for name, role in root.roles.items()}
    shown = {name: document[name] for name in ("deployment", "environment", "version")}
    times = {"issued": document["issued"], "expires": document["expires"]}
    rest: JsonObject = {"thresholds": thresholds, "retired": {}, "policy": document["policy"]}
    draft = {"awe": "root/v1", **shown, **times, **keys, **rest}
    return (_HEAD.format(file=file) + as_yaml(draft)).encode()


def successor(root: Root, *, now: Seconds) -> Root:
    """Give the root that follows, unchanged but for version and time."""
    expires = now + root.expires - root.issued
    return attrs.evolve(root, version=root.version + 1, issued=now, expires=expires)


def losses(
    states: Iterable[SubjectState], store: StoreBytes, chain: Chain, root: Root, *, now: Seconds
) -> Iterator[tuple[str, AweError]]:
    """Name what runs today and would lack approvals under *root*, with the reason."""
    digest = canonical.sha256_hex(canonical.document(root.to_json()))
    said = read_statements(store, Chain((*chain.roots, root), digest))
    for each in states:
        subject = each.subject
        signed = [one for one in said if one.statement.subject == subject.digest]
        if each.is_running and (lacking := lacks(subject, signed, root, at=now)):
            yield subject.title, lacking[0]


def _retired(
    reasons: Mapping[str, str], root: Root, chain: Chain, statements: list[Signed]
) -> dict[Digest, Retired]:
    """Give what becomes of every key that any root had and this one has not."""
    found: dict[Digest, Retired] = {}
    before = chain.current
    for keyid, key in chain.every_key.items():
        reason = reasons.get(key.owner)
        if keyid in root.keys or not (keyid in before.keys or keyid in before.retired):
            continue
        if reason is None and keyid in before.retired:
            found[keyid] = before.retired[keyid]
        elif reason is None:
            why = f"it leaves; write retired: {{{key.owner}: left}}, or compromised"
            raise TrustError("trust.root_key", keyid=keyid[:12], owner=key.owner, why=why)
        elif reason == "left" and keyid in before.retired:
            found[keyid] = before.retired[keyid]
        else:
            stay = sorted(one.digest for one in statements if one.keyid == keyid)
            found[keyid] = Retired(reason, tuple(stay) if reason == "left" else ())
    return found
