"""What governance costs: each figure beside what it is compared with, on the same machine.

usage: python tests/bench/governance.py [--rounds N] [--only WORD]

Ours and what it is compared with take turns in every round; a row gives the medians and the median
of the rounds' ratios.  The targets are those of the design; a row without one is for orientation.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import importlib
import importlib.metadata
import itertools
import json
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from awe_core import canonical, trust
from awe_core.gate import Gate, GateSnapshot
from awe_core.governance import Governance, StoreFolder
from awe_core.packs import (
    CodeCache,
    PinnedFinder,
    asked_for,
    discover,
    inspect_wheel,
    record_from_wheel,
    verify_installed,
)
from awe_core.records import Manifest, PackRecord, Root, Statement, timestamp
from awe_core.testing.deployment import Deployment
from awe_core.testing.measuring import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY = 86_400
NOW = 1_700_000_000
NAME = "bench"
ROLES = ("root", "release", "reviewer", "security", "operator", "proposer")
PEOPLE = ("alice", "bob", "rel")


class Comparison(NamedTuple):
    """One row: what we do, what it is compared with, and how often one timing does it."""

    what: str
    beside: str
    ours: Callable[[], object]
    floor: Callable[[], object]
    target: str = ""
    times: int = 1  #: what one call of `ours` does this often
    floor_times: int = 1


# ------------------------------------------------------------------------------- stores of packs


class Person:
    """A person and their key."""

    scheme = "ed25519"

    def __init__(self, name):
        self.name = name
        self.secret = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.public = self.secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.keyid = trust.keyid_of(self.scheme, self.public)

    def seal(self, kind, document):
        payload = canonical.document(document)
        pae = trust.pae(trust.payload_type(kind), payload)
        return trust.seal(kind, payload, [(self.keyid, self.secret.sign(pae))])


class Store:
    """A store with *count* ACTIVE packs, each proposed by one person and approved by another."""

    def __init__(self, count):
        self.people = {name: Person(name) for name in PEOPLE}
        self.files = {}
        root = self.root()
        self.files[trust.root_file(1)] = self.people["alice"].seal("trust-root", root)
        self.pin = canonical.sha256_hex(canonical.document(root))
        manifest = self.manifest([self.pack(n) for n in range(count)])
        self.files[trust.manifest_file(1, 1)] = self.people["rel"].seal("manifest", manifest)

    def root(self):
        holders = {"release": "rel", "reviewer": "bob", "proposer": "alice"}
        key = {"scheme": "ed25519", "kind": "person"}
        return {
            "awe": "trust-root/v1",
            "deployment": NAME,
            "environment": "dev",
            "version": 1,
            "issued": timestamp(NOW - DAY),
            "expires": timestamp(NOW + 300 * DAY),
            "keys": {
                one.keyid: {**key, "public": one.public.hex(), "owner": one.name}
                for one in self.people.values()
            },
            "roles": {
                role: {"keys": [self.people[holders.get(role, "alice")].keyid], "threshold": 1}
                for role in ROLES
            },
            "retired": {},
            "policy": {
                "approvals": [{"when": {"kind": "pack"}, "need": {"reviewer": 1}}],
                "approval_days": 365,
                "manifest_days": 30,
                "on_expiry": "drain",
                "grace_days": 7,
                "warn_days": 1,
                "dependencies": "versions",
                "evidence": [],
                "inproc": [],
                "self_approval": False,
                "editable": False,
                "observe": False,
            },
        }

    def pack(self, number):
        """File a record and the two statements about it; give its entry of the manifest."""
        name, digest = f"pack{number}", "0" * 64
        contract = {"version": "1.0.0", "contract": digest, "risk": "high", "effects": ["net.http"]}
        record = {
            "awe": "pack-record/v1",
            "kind": "pack",
            "name": name,
            "distribution": f"awe-pack-{name}",
            "version": "1.4.0",
            "revision": 1,
            "wheel": {"filename": f"awe_pack_{name}.whl", "sha256": digest, "size": 1},
            "files": {
                f"awe_pack_{name}/m{n}.py": {"sha256": digest, "size": 812} for n in range(10)
            },
            "top_level": [f"awe_pack_{name}"],
            "entry_points": {name: f"awe_pack_{name}"},
            "hooks": ["awe_capabilities"],
            "executor": "worker",
            "reuse": "run",
            "native": False,
            "accept_unenforced": [],
            "capabilities": [{"id": f"{name}.do{n}", **contract} for n in range(5)],
            "workflows": [],
            "facades": [],
            "requires": [{"distribution": "httpx", "version": "0.28.1", "tree": ""}],
            "proposed_by": "alice",
            "authors": [],
            "evidence": [],
            "report": digest,
        }
        data = canonical.document(record)
        subject = canonical.sha256_hex(data)
        self.files[trust.pack_file(record["distribution"], "1.4.0", subject)] = data
        said = (("propose", "alice", "proposer"), ("approve", "bob", "reviewer"))
        statements = []
        for decision, who, role in said:
            statement = {
                "awe": "statement/v1",
                "deployment": NAME,
                "root_version": 1,
                "decision": decision,
                "role": role,
                "subject": subject,
                "name": name,
                "version": "1.4.0",
                "at": timestamp(NOW - 2 * 3600),
                "expires": timestamp(NOW + 100 * DAY) if decision == "approve" else None,
                "reason": "read the diff; net only to files.example",
                "stops": None,
            }
            sealed = self.people[who].seal("statement", statement)
            statements.append(canonical.sha256_hex(sealed))
            self.files[trust.statement_file(statements[-1], is_stop=False)] = sealed
        return {
            "distribution": record["distribution"],
            "version": "1.4.0",
            "record": subject,
            "status": "ACTIVE",
            "sunset": None,
            "statements": statements,
        }

    def manifest(self, packs):
        return {
            "awe": "manifest/v1",
            "deployment": NAME,
            "root_version": 1,
            "version": 1,
            "previous": None,
            "issued": timestamp(NOW - 3600),
            "expires": timestamp(NOW + 20 * DAY),
            "packs": packs,
            "facades": [],
            "denied": [],
            "documents": {},
        }

    def judge(self):
        verdict = trust.judge(self.files, pin=self.pin, deployment=NAME, mark=None, now=NOW)
        assert all(pack.permits.new for pack in verdict.packs)
        return verdict

    def read(self):
        """What no implementation can do without: each signature, and every field read strictly."""
        kinds = {"manifest": Manifest, "statement": Statement, "trust-root": Root}
        for kind, document in self.parsed():
            kinds.get(kind, PackRecord).from_json(document)

    def parsed(self):
        """The same without the fields: each signature, and the canonical JSON below it."""
        keys = {p.keyid: Ed25519PublicKey.from_public_bytes(p.public) for p in self.people.values()}
        for name, data in self.files.items():
            if not name.endswith(".dsse"):
                yield "record", canonical.parse_document(data)
                continue
            envelope = json.loads(data)
            payload = base64.b64decode(envelope["payload"], validate=True)
            kind = envelope["payloadType"]
            pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
            for one in envelope["signatures"]:
                keys[one["keyid"]].verify(base64.b64decode(one["sig"], validate=True), pae)
            yield kind.split(".")[2], canonical.parse_document(payload)

    def write(self, folder):
        for name, data in self.files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return folder


def repeated(work, times):
    """Do it often enough for the clock."""

    def works():
        for _ in range(times):
            work()

    return works


def judging(_folder: Path) -> Iterator[Comparison]:
    for count, target in ((1, ""), (100, "1.5")):
        store = Store(count)
        what = f"judging {count} pack{'s' * (count > 1)}, {2 * count} statements"
        bare = "bare signature checks, canonical JSON parsed strictly"
        times = 100 // count
        judge = repeated(store.judge, times)
        read = repeated(lambda store=store: list(store.parsed()), times)
        about = {"times": times, "floor_times": times}
        yield Comparison(what, bare, judge, read, **about)
        strict = f"{bare}, each field read strictly"
        yield Comparison(what, strict, judge, repeated(store.read, times), target, **about)


def reading(folder: Path) -> Iterator[Comparison]:
    store = Store(100)
    place = store.write(folder / "governance")
    governance = Governance(StoreFolder(place), store.pin, NAME)
    files = [place / name for name in store.files]

    def read():
        for file in files:
            file.read_bytes()
        store.read()

    what, floor = "verdict from a folder, 100 packs", "reading its files, and the same"
    yield Comparison(what, floor, lambda: governance.verdict(now=NOW), read)


# ---------------------------------------------------------------------------------- packs on disk

_SOURCE = '''"""Module {n}."""
import json


class Thing{n}:
    """A thing with a few methods."""

    def __init__(self, name, items=()):
        self.name = name
        self.items = list(items)

    def total(self, factor={n}):
        found = 0
        for item in self.items:
            if item % 2 == 0 and item > factor:
                found += item * factor
            elif item:
                found -= item
        return found

    def as_json(self):
        return json.dumps({{"name": self.name, "items": self.items, "total": self.total()}})

'''
_FUNCTION = '''
def step_{k}(values, limit={k}):
    """Step {k}."""
    chosen = [value + {k} for value in values if value < limit]
    return {{"chosen": chosen, "text": f"{{len(chosen)}} of {{len(values)}} below {{limit}}"}}

'''
_CONTRACT = """\
awe: capability/v1
id: {name}.do
version: 1.0.0
summary: Do it.
risk: low
input: {{type: object, properties: {{text: {{type: string}}}}}}
output: {{type: object, properties: {{text: {{type: string}}}}}}
handler: {package}.m0:step_0
"""


class Pack:
    """An installed pack of 53 files, and its record."""

    def __init__(self, folder, number, *, modules=47, functions=5):
        self.name = f"bench{number}"
        self.package = f"awe_pack_{self.name}"
        self.site = folder / "site"
        bodies = {
            f"{self.package}/m{n}.py": _SOURCE.format(n=n)
            + "".join(_FUNCTION.format(k=k) for k in range(functions))
            for n in range(modules - 1)
        }
        about = {"name": self.name, "package": self.package}
        bodies[f"{self.package}/__init__.py"] = ""
        bodies[f"{self.package}/pack.yaml"] = (
            f"awe: pack/v1\nname: {self.name}\ncontracts: contracts/*.yaml\n"
        )
        bodies[f"{self.package}/contracts/do.yaml"] = _CONTRACT.format(**about)
        bodies[f"{self.package}/note.txt"] = "a note\n"
        self.sources = {p: c.encode() for p, c in bodies.items() if p.endswith(".py")}
        wheel = self._wheel(folder, {path: body.encode() for path, body in bodies.items()})
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)
        report = inspect_wheel(wheel)
        self.record = record_from_wheel(report, asked_for(report, proposed_by="a", reason="r"))
        here = discover([str(self.site)])
        (self.found,) = (one for one in here if one.name == self.record.distribution)

    def _wheel(self, folder, files):
        info = f"{self.package}-1.0.0.dist-info"
        files[f"{info}/METADATA"] = f"Name: awe-pack-{self.name}\nVersion: 1.0.0\n".encode()
        files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nTag: py3-none-any\n"
        files[f"{info}/entry_points.txt"] = f"[awe]\n{self.name} = {self.package}\n".encode()
        rows = []
        for path, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            rows.append(f"{path},sha256={digest.rstrip('=')},{len(content)}\n")
        files[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
        wheel = folder / f"{self.package}-1.0.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        return wheel

    def verify(self):
        return verify_installed(self.record, self.found)

    def hash(self):
        for path in self.record.files:
            with (self.site / path).open("rb") as file:
                hashlib.sha256(file.read()).hexdigest()

    @property
    def modules(self):
        names = (path.removesuffix(".py").replace("/", ".") for path in self.sources)
        return sorted(name.removesuffix(".__init__") for name in names)

    def forget(self):
        for name in self.modules:
            sys.modules.pop(name, None)


def verifying(folder: Path) -> Iterator[Comparison]:
    packs = [Pack(folder, n) for n in range(100)]
    floor = "reading and hashing the files"
    files = len(packs[0].record.files)
    for what, some in ((f"verifying a pack of {files} files", packs[:1]), ("100 of them", packs)):

        def verify(some=some):
            for pack in some * (100 // len(some)):
                pack.verify()

        def read(some=some):
            for pack in some * (100 // len(some)):
                pack.hash()

        times = 100 // len(some)
        yield Comparison(what, floor, verify, read, "3", times=times, floor_times=times)


def importing(folder: Path) -> Iterator[Comparison]:
    pack = Pack(folder, 0, modules=50, functions=9)
    pinned = pack.verify().pinned
    size = sum(map(len, pack.sources.values())) // 1000
    what = f"first import of {len(pack.modules)} modules ({size} KB)"
    homes = itertools.count()

    def through(finder):
        pack.forget()
        finder.install()
        finder.admit(pinned)
        try:
            for name in pack.modules:
                importlib.import_module(name)
        finally:
            finder.uninstall()

    def ordinary():
        pack.forget()
        sys.path.insert(0, str(pack.site))
        try:
            for name in pack.modules:
                importlib.import_module(name)
        finally:
            sys.path.remove(str(pack.site))

    def compiled():
        for path, source in pack.sources.items():
            compile(source, path, "exec", dont_inherit=True)

    def cold():
        through(PinnedFinder(CodeCache.at(folder / f"home{next(homes)}", made_by="bench")))

    def fresh():
        shutil.rmtree(pack.site / pack.package / "__pycache__", ignore_errors=True)
        ordinary()

    warm = CodeCache.at(folder / "home", made_by="bench")
    through(PinnedFinder(warm))
    sys.dont_write_bytecode = False
    bare = "`compile` of the same sources"
    yield Comparison(f"{what}, no cache", bare, lambda: through(PinnedFinder()), compiled, "1.3")
    yield Comparison(f"{what}, filling the cache", bare, cold, compiled)
    writing = "ordinary import, writing bytecode"
    yield Comparison(f"{what}, filling the cache", writing, cold, fresh)
    cached = f"{what}, code from the cache"
    beside = "ordinary import with bytecode"
    yield Comparison(cached, beside, lambda: through(PinnedFinder(warm)), ordinary, "1.5")


# ------------------------------------------------------------------------------- at every call


def gating(folder: Path) -> Iterator[Comparison]:
    checks, calls = 10_000, 50
    gate = Gate(GateSnapshot.of(Store(100).judge()))
    key = ("pack50.do3", "0" * 64)

    def check():
        for _ in range(checks):
            gate.check(*key, "new")

    def loop():
        for _ in range(checks):
            _nothing(*key, "new")

    about = {"times": checks, "floor_times": checks}
    yield Comparison("gate.check, of 500 capabilities", "an empty function", check, loop, **about)
    made = Deployment.create(folder / "deployment", ["awe-pack-stdlib"])
    with made, made.open() as runtime:

        def call():
            for _ in range(calls):
                runtime.call("id.uuid")

        about = {"times": checks, "floor_times": calls}
        yield Comparison("gate.check", "one call of id.uuid", check, call, "0.01", **about)


def _nothing(_capability: str, _contract: str, _purpose: str) -> str:
    return ""


def discovering(folder: Path) -> Iterator[Comparison]:
    site = folder / "metadata"
    for distribution in itertools.islice(importlib.metadata.distributions(), 33):
        where = Path(str(distribution.locate_file("")))
        for info in where.glob(f"{distribution.metadata['Name'].replace('-', '?')}-*.dist-info"):
            shutil.copytree(info, site / info.name, dirs_exist_ok=True)
    count = len(list(site.iterdir()))

    def owners():
        kept, sys.path[:] = sys.path[:], [str(site)]
        try:
            importlib.metadata.packages_distributions()
        finally:
            sys.path[:] = kept

    floor = "importlib.metadata.packages_distributions()"
    yield Comparison(
        f"discovery among {count} distributions", floor, lambda: discover([str(site)]), owners
    )


# ---------------------------------------------------------------------------------- measuring


@attrs.frozen
class Row:
    what: str
    beside: str
    ours_s: float
    floor_s: float
    ratio: float
    target: str


def measured(comparison: Comparison, rounds: int) -> Row:
    """Let both take turns; who goes first changes each round, so that neither profits by it."""
    pairs = []
    sides = [(comparison.ours, comparison.times), (comparison.floor, comparison.floor_times)]
    for work, _ in sides:
        work()  # once without looking: caches of the disk and of the interpreter
    for n in range(rounds):
        took = {}
        for work, times in sides if n % 2 else reversed(sides):
            gc.collect()
            gc.disable()
            start = time.perf_counter()
            work()
            took[work] = (time.perf_counter() - start) / times
            gc.enable()
        pairs.append((took[comparison.ours], took[comparison.floor]))
    ours, floor = (statistics.median(one) for one in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    return Row(comparison.what, comparison.beside, ours, floor, ratio, comparison.target)


def shown(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio > 0.1 else f"{ratio:.2g}"


def main(*, rounds: int, only: str) -> None:
    """Print the table."""
    print("| what | compared with | ours | beside | ratio | target |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as root:
        for group in (judging, reading, verifying, importing, gating, discovering):
            if only not in group.__name__:
                continue
            folder = Path(root, group.__name__)
            folder.mkdir()
            for comparison in group(folder):
                row = measured(comparison, rounds)
                target = f"≤ {row.target}" if row.target else ""
                cells = [row.what, row.beside, shown(row.ours_s), shown(row.floor_s)]
                print("|", " | ".join([*cells, number(row.ratio), target]), "|", flush=True)
        about = ", ".join(f"{name}: {said}" for name, said in machine(Path(root)).items())
    print(f"\n{rounds} rounds; {about}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="a part of: judging, reading, verifying, …")
    given = parser.parse_args()
    main(rounds=given.rounds, only=given.only)
