"""A governance store in memory, with everybody's keys: what an attacker could ask for."""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from awe_core import canonical, trust
from awe_core.errors import TrustError
from awe_core.records import timestamp

NOW = 1_700_000_000
DAY = 86_400
TOMORROW = timestamp(NOW + DAY)
DEPLOYMENT = "acme-prod"
NAMES = ("alice", "bob", "carol", "dave", "rel", "olga", "sec", "eve")
ROLES = {
    "root": (("alice", "bob", "carol"), 2),
    "release": (("rel",), 1),
    "reviewer": (("alice", "bob", "sec"), 1),
    "security": (("sec", "carol", "alice"), 1),
    "operator": (("olga",), 1),
    "proposer": (("dave", "alice"), 1),
}
POLICY = {
    "approvals": [
        {"when": {"kind": "pack"}, "need": {"reviewer": 1, "security": 1}},
        {"when": {"native": True}, "need": {"security": 2}},
        {"when": {"kind": "facade"}, "need": {"reviewer": 1}},
    ],
    "approval_days": 365,
    "manifest_days": 30,
    "on_expiry": "drain",
    "grace_days": 7,
    "warn_days": 10,
    "dependencies": "versions",
    "evidence": [],
    "inproc": ["awe-pack-stdlib"],
    "self_approval": False,
    "editable": False,
    "observe": False,
}


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Ed25519:
    scheme = "ed25519"

    def __init__(self, seed):
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.keyid = trust.keyid_of(self.scheme, self.public)

    def sign(self, pae):
        return self._key.sign(pae)


class P256:
    scheme = "ecdsa-sha2-nistp256"

    def __init__(self, number):
        self._key = ec.derive_private_key(number, ec.SECP256R1())
        self.public = self._key.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        self.keyid = trust.keyid_of(self.scheme, self.public)

    def sign(self, pae):
        return self._key.sign(pae, ec.ECDSA(SHA256()))


KEYS = {name: Ed25519(name.encode()) for name in NAMES}
SPARE = {"bob:2": Ed25519(b"bob again")}  #: a second key of one person
D = "0" * 64


class Store:
    """Every document of it is signed as asked for, by those asked for, whatever it says."""

    def __init__(self, *, environment="prod", roles=ROLES, keys=KEYS, signers=None, **policy):
        self.files = {}
        self.keys = dict(keys)
        self.roles = dict(roles)
        self.policy = {**POLICY, **policy}
        self.environment = environment
        self.retired = {}
        self.root_version = 0
        self.version = 0
        self.previous = None
        self.denied = []
        self.pin = self.root(signers=signers)

    def seal(self, kind, payload, names):
        pae = trust.pae(trust.payload_type(kind), payload)
        keys = [self.key(name) for name in names]
        if len(payload) > 1_000_000:  # ours would not write what nobody may read
            return json.dumps(
                {
                    "payload": base64.b64encode(payload).decode(),
                    "payloadType": trust.payload_type(kind),
                    "signatures": [
                        {"keyid": key.keyid, "sig": base64.b64encode(key.sign(pae)).decode()}
                        for key in keys
                    ],
                }
            ).encode()
        return trust.seal(kind, payload, [(key.keyid, key.sign(pae)) for key in keys])

    def key(self, name):
        """Whose it is, also when it has left or never came."""
        return self.keys.get(name) or KEYS.get(name) or SPARE[name]

    def root_document(self, **changes):
        owners = {"rel": "machine", "olga": "machine"}
        return {
            "awe": "trust-root/v1",
            "deployment": DEPLOYMENT,
            "environment": self.environment,
            "version": self.root_version,
            "issued": timestamp(NOW - 100 * DAY),
            "expires": timestamp(NOW + 300 * DAY),
            "keys": {
                key.keyid: {
                    "scheme": key.scheme,
                    "public": key.public.hex(),
                    "owner": name.partition(":")[0],
                    "kind": owners.get(name, "person"),
                }
                for name, key in self.keys.items()
                if name != "eve"
            },
            "roles": {
                role: {"keys": [self.keys[name].keyid for name in names], "threshold": need}
                for role, (names, need) in self.roles.items()
            },
            "retired": self.retired,
            "policy": self.policy,
            **changes,
        }

    def root(self, *, signers=None, **changes):
        """Sign the next root; a new one starts the count of manifests anew."""
        self.root_version += 1
        self.version = 0
        payload = canonical.document(self.root_document(**changes))
        self.files[trust.root_file(self.root_version)] = self.seal(
            "trust-root", payload, signers or ("alice", "bob")
        )
        return sha(payload)

    def record(self, name="acme-files", version="1.4.0", **changes):
        distribution = f"awe-pack-{name}"
        document = {
            "awe": "pack-record/v1",
            "kind": "pack",
            "name": name,
            "distribution": distribution,
            "version": version,
            "revision": 1,
            "wheel": {"filename": "a.whl", "sha256": D, "size": 1},
            "files": {"a/__init__.py": {"sha256": D, "size": 812}},
            "top_level": ["awe_pack_" + name.replace("-", "_")],
            "entry_points": {},
            "hooks": ["awe_capabilities"],
            "executor": "worker",
            "reuse": "run",
            "native": False,
            "accept_unenforced": [],
            "capabilities": [capability(name.replace("-", "_") + ".put")],
            "workflows": [],
            "facades": [],
            "requires": [],
            "proposed_by": "dave",
            "authors": [],
            "evidence": [],
            "report": D,
            **changes,
        }
        data = canonical.document(document)
        self.files[trust.pack_file(distribution, version, sha(data))] = data
        return Subject(sha(data), name, version, distribution)

    def facade(self, name="files_put", **changes):
        document = {
            "awe": "facade-record/v1",
            "kind": "facade",
            "name": name,
            "revision": 1,
            "facade": {"id": name},
            "pack": "awe-pack-acme-files",
            "reaches": [{"id": "acme_files.put", "contract": D}],
            "proposed_by": "dave",
            "authors": [],
            **changes,
        }
        data = canonical.document(document)
        self.files[trust.facade_file(name, sha(data))] = data
        return Subject(sha(data), name, "1", None)

    def say(  # noqa: PLR0913 - what a statement is made of
        self, decision, who, role, subject, *, folder=None, signers=None, **changes
    ):
        """File one signed statement and give its digest."""
        document = {
            "awe": "statement/v1",
            "deployment": DEPLOYMENT,
            "root_version": self.root_version,
            "decision": decision,
            "role": role,
            "subject": subject.digest,
            "name": subject.name,
            "version": subject.version,
            "at": timestamp(NOW - 10 * DAY),
            "expires": timestamp(NOW + 100 * DAY) if decision == "approve" else None,
            "reason": "because",
            "stops": None,
            **changes,
        }
        data = self.seal("statement", canonical.document(document), signers or (who,))
        is_stop = folder == "stops" if folder else decision in {"suspend", "revoke"}
        self.files[trust.statement_file(sha(data), is_stop=is_stop)] = data
        return sha(data)

    def approved(self, subject, reviewer="alice", security="sec"):
        return [
            self.say("propose", "dave", "proposer", subject),
            self.say("approve", reviewer, "reviewer", subject),
            self.say("approve", security, "security", subject),
        ]

    def manifest(
        self, packs=(), facades=(), *, signers=("rel",), sunset=TOMORROW, entries=(), **changes
    ):
        """Sign the next manifest of (subject, status, statements), or of *entries*; file it."""
        self.version += 1
        document = {
            "awe": "manifest/v1",
            "deployment": DEPLOYMENT,
            "root_version": self.root_version,
            "version": self.version,
            "previous": self.previous,
            "issued": timestamp(NOW - DAY),
            "expires": timestamp(NOW + 20 * DAY),
            "packs": [
                {
                    "distribution": subject.distribution,
                    "version": subject.version,
                    "record": subject.digest,
                    "status": status,
                    "sunset": sunset if status == "DEPRECATED" else None,
                    "statements": statements,
                }
                for subject, status, statements in packs
            ]
            + list(entries),
            "facades": [
                {
                    "id": subject.name,
                    "record": subject.digest,
                    "status": status,
                    "sunset": None,
                    "statements": statements,
                }
                for subject, status, statements in facades
            ],
            "denied": self.denied,
            "documents": {"people.yaml": D},
            **changes,
        }
        payload = canonical.document(document)
        name = trust.manifest_file(self.root_version, self.version)
        self.files[name] = self.seal("manifest", payload, signers)
        self.previous = sha(payload)
        return self.previous

    def judge(self, *, mark=None, now=NOW, deployment=DEPLOYMENT, pin=None):
        return trust.judge(
            self.files, pin=pin or self.pin, deployment=deployment, mark=mark, now=now
        )


class Folder:
    """`StoreFolder` over a dict, for those who do not need a disk."""

    def __init__(self, files):
        self.files = files
        self.pending = {}

    def read(self):
        return dict(self.files)

    def read_pending(self):
        return dict(self.pending)

    def add(self, files):
        for name, data in files.items():
            if self.files.setdefault(name, data) != data:
                raise TrustError("store.taken", file=name)

    def replace(self, files):
        for name, data in files.items():
            folder, _, rest = name.partition("/")
            if folder == "pending":
                self.pending[rest] = data

    def remove_pending(self, name):
        self.pending.pop(name, None)


class Subject:
    def __init__(self, digest, name, version, distribution):
        self.digest = digest
        self.name = name
        self.version = version
        self.distribution = distribution


def capability(name, contract=D):
    return {"id": name, "version": "1.0.0", "contract": contract, "risk": "high", "effects": []}


def an_active_pack(**policy):
    store = Store(**policy)
    subject = store.record()
    statements = store.approved(subject)
    store.manifest([(subject, "ACTIVE", statements)])
    return store, subject, statements
