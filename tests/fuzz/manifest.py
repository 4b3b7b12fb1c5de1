"""Bytes become a store whose release key was stolen: a verdict without news, or an error.

usage: python tests/fuzz/manifest.py [CORPUS] [-max_total_time=180]    (`tox -e fuzz` has atheris)

The first byte chooses what the others do to a valid store: stand in the place of a file, stand in
the place of a signed payload, or change members, bytes, names and signers, one after the other.
"""

from __future__ import annotations

import base64
import copy
import json
import sys
from typing import Any

from awe_core import trust
from awe_core.errors import AweError
from awe_core.records import timestamp
from stores import NAMES, NOW, an_active_pack

STORE, SUBJECT, STATEMENTS = an_active_pack()
STORE.manifest([(SUBJECT, "ACTIVE", STATEMENTS)])
NEWEST = trust.manifest_file(1, 2)
MARK = STORE.judge().mark
DOCUMENT = json.loads(base64.b64decode(json.loads(STORE.files[NEWEST])["payload"]))
WORDS = (
    *(
        "",
        "ACTIVE",
        "SUSPENDED",
        "DEPRECATED",
        "SUPERSEDED",
        "REVOKED",
        "manifest/v1",
        "awe-pack-b",
    ),
    *("people.yaml", "0" * 64, SUBJECT.digest, *STATEMENTS, timestamp(NOW), timestamp(NOW + 1)),
    *("\u0430\u0301\u202e", "\ud800", "__proto__", timestamp(0), "9999-12-31T23:59:59Z"),
)
NUMBERS = (0, 1, 2, -1, 2**31, 2**53 - 1, 2**53, 10**30)


class Source:
    """Bytes, read as decisions; when they are used up every decision is the first."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def number(self, below: int) -> int:
        taken, self.rest = self.rest[:2], self.rest[2:]
        return int.from_bytes(taken, "big") % below

    def pick(self, choices: Any) -> Any:
        return choices[self.number(len(choices))]

    def value(self, depth: int = 3) -> Any:
        match self.number(9 if depth else 6):
            case 0:
                return self.pick((None, True, False))
            case 1 | 2:
                return self.pick(WORDS)
            case 3:
                return self.pick(NUMBERS)
            case 4:
                return self.pick((1.5, 1e300, float("nan"), float("inf")))
            case 5:
                return copy.deepcopy(self.pick(list(DOCUMENT.values())))
            case 6 | 7:
                return [self.value(depth - 1) for _ in range(self.number(4))]
            case _:
                return {self.pick(WORDS): self.value(depth - 1) for _ in range(self.number(4))}


def attempt(data: bytes) -> str:
    """Try one store, and give the code of the error; empty: there is a verdict.

    :raises AssertionError: something runs that nobody approved, or a mark was lowered
    """
    source, files = Source(data[1:]), dict(STORE.files)
    match data[:1] and data[0] % 4:
        case 0:
            files[source.pick(sorted(files))] = source.rest
        case 1:
            files[NEWEST] = signed(source.rest, ["rel"])
        case 2:
            for _ in range(1 + source.number(4)):
                spoil(files, source)
        case _:
            document = copy.deepcopy(DOCUMENT)
            for _ in range(1 + source.number(4)):
                change(document, source)
            text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            payload = text.encode(errors="surrogatepass")
            files[NEWEST] = signed(payload, ["rel", source.pick(NAMES)])
    mark = source.pick((None, MARK))
    now = source.pick((NOW, NOW + 1, 0, 2**40))
    try:
        verdict = trust.judge(files, pin=STORE.pin, deployment="acme-prod", mark=mark, now=now)
    except AweError as error:
        return error.code
    if mark:
        assert (mark.root_version, mark.version) <= (
            verdict.mark.root_version,
            verdict.mark.version,
        )
        assert mark.stops <= verdict.mark.stops
    assert all(each.digest == SUBJECT.digest for each in verdict.packs if each.permits.new)
    assert not verdict.facades
    return ""


def signed(payload: bytes, names: list[str]) -> bytes:
    return STORE.seal("manifest", payload, names)


def change(inside: Any, source: Source) -> None:
    """Replace, add, or take away a member somewhere in a document."""
    while True:
        places = sorted(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not places:
            return
        place = source.pick(places)
        if not isinstance(inside[place], dict | list) or source.number(3) == 0:
            break
        inside = inside[place]
    match source.number(4):
        case 0:
            del inside[place]
        case 1 if isinstance(inside, dict):
            inside[source.pick(WORDS)] = source.value()
        case 1:
            inside.append(copy.deepcopy(inside[place]))
        case _:
            inside[place] = source.value()


def spoil(files: dict[str, bytes], source: Source) -> None:
    """Take a file away, give it the name of another, or change, insert or cut bytes of it."""
    name = source.pick(sorted(files) or [NEWEST])
    data = files.get(name, b"")
    place = source.number(len(data) + 1)
    match source.number(5):
        case 0:
            files.pop(name, None)
        case 1:
            files[source.pick(sorted(STORE.files))] = data
        case 2:
            files[name] = data[:place]
        case 3:
            files[name] = data[:place] + bytes([source.number(256)]) + data[place + 1 :]
        case _:
            files[name] = data[:place] + source.pick(WORDS).encode(errors="ignore") + data[place:]


def main() -> None:
    """Give `attempt` to atheris."""
    import atheris  # noqa: PLC0415 - the suite uses `attempt` without it

    atheris.instrument_all()
    atheris.Setup(sys.argv, lambda data: attempt(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
