"""`Desk`: one deployment's store, read as a whole and written document by document.

Every document is judged in memory, as part of the store it would make, before it is written where
it counts.  What lacks signatures only waits under ``pending/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import attrs

from awe_core import canonical
from awe_core.errors import TrustError
from awe_core.governance.documents import entitled, signed
from awe_core.governance.releases import check_release, latest, next_manifest
from awe_core.governance.store import PENDING
from awe_core.governance.survey import find, survey
from awe_core.governance.views import views
from awe_core.records import Statement
from awe_core.trust import DAY_S, judge, manifest_file, statement_file
from awe_core.trust.roots import walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from awe_core.governance.documents import Subject
    from awe_core.governance.releases import Change
    from awe_core.governance.store import StoreFolder
    from awe_core.governance.survey import Kind, SubjectState
    from awe_core.records import Digest, Root, Seconds
    from awe_core.trust import Chain, Mark, Signer, StoreBytes, Verdict


class By(TypedDict):
    """Who decides, why, and when."""

    signer: Signer
    reason: str  #: signed with the decision
    now: Seconds


@attrs.frozen
class Released:
    """What became of a document that takes signatures."""

    file: str  #: relative to the store
    is_pending: bool  #: it still lacks signatures; `Governance.sign` adds them


@attrs.frozen
class Look:
    """The store at one moment, read once."""

    store: StoreBytes
    chain: Chain
    verdict: Verdict | None
    failure: TrustError | None
    states: tuple[SubjectState, ...]
    now: Seconds

    @property
    def root(self) -> Root:
        """The root in force."""
        return self.chain.current

    def of(self, subject: Subject) -> SubjectState:
        """Tell where *subject* stands."""
        return find(self.states, subject.digest)

    def statement(
        self, subject: Subject, decision: str, role: str, by: By, *, stops: Digest | None = None
    ) -> dict[str, bytes]:
        """Sign one decision; gives its file in the store.

        :raises TrustError: ``signer.not_in_role``, ``trust.unknown_role``, ``store.malformed``
        """
        entitled(self.root, by["signer"], role=role)
        lasts_s = self.root.policy.approval_days * DAY_S
        said = Statement(
            deployment=self.root.deployment,
            root_version=self.root.version,
            decision=decision,
            role=role,
            subject=subject.digest,
            name=subject.record.name,
            version=subject.record.version,
            at=self.now,
            expires=self.now + lasts_s if decision == "approve" else None,
            reason=by["reason"],
            stops=stops,
        )
        Statement.from_json(said.to_json())  # what we write, everybody must be able to read
        data = signed("statement", said, [by["signer"]])
        is_stop = decision in {"suspend", "revoke"}
        return {statement_file(canonical.sha256_hex(data), is_stop=is_stop): data}


@attrs.frozen
class Desk:
    """One store under one pinned root."""

    store: StoreFolder
    pin: Digest
    deployment: str

    def verdict(self, *, now: Seconds, mark: Mark | None = None) -> Verdict:
        """Judge the store as it is.

        :raises TrustError: root or manifest do not hold
        """
        return self._judge(self.store.read(), now, mark)

    def states(self, *, now: Seconds) -> tuple[SubjectState, ...]:
        """Tell where every record stands; packs first, then facades."""
        return self.look(now).states

    def find(self, name: str, *, now: Seconds, kind: Kind | None = None) -> SubjectState:
        """Resolve NAME@VERSION (or NAME, or the beginning of a digest).

        :raises UsageError: ``governance.unknown``, ``governance.ambiguous``
        """
        return find(self.look(now).states, name, kind=kind)

    def next_revision(self, name: str, version: str) -> int:
        """Tell the revision that the same version gets when it is proposed anew."""
        records = [each.subject.record for each in self.look(0).states]
        same = [
            r for r in records if r.name == name and (r.kind == "facade" or r.version == version)
        ]
        return max((record.revision for record in same), default=0) + 1

    def write_views(self) -> None:
        """Write the YAML that people read in pull requests anew."""
        self.store.replace(views(self.store.read()))

    def look(self, now: Seconds) -> Look:
        """Read the store once.

        :raises TrustError: the root does not hold; a manifest that does not is in `Look.failure`
        """
        store = self.store.read()
        chain = walk(store, pin=self.pin, deployment=self.deployment)
        verdict: Verdict | None = None
        failure: TrustError | None = None
        try:
            verdict = self._judge(store, now)
        except TrustError as error:
            failure = error
        states = survey(store, chain, verdict, now=now)
        return Look(store, chain, verdict, failure, states, now)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Add documents and show them in the views."""
        self.store.add(files)
        self.store.replace(views(files))

    def release(
        self,
        look: Look,
        changes: Mapping[Digest, Change],
        wanted: Sequence[Subject],
        signers: Sequence[Signer],
        documents: Mapping[str, Digest] | None,
    ) -> Released:
        """Sign the manifest that follows the newest one, with *changes*.

        :param wanted: records that must come out in force
        :param documents: deployment files to pin, path → digest; None: as they were
        """
        if look.failure is not None and look.failure.code != "trust.root_mismatch":
            raise look.failure
        for signer in signers:
            entitled(look.root, signer, role="release")
        base = latest(look.store, look.chain)
        manifest = next_manifest(base, look.states, changes, root=look.root, now=look.now)
        if documents is not None:
            manifest = attrs.evolve(manifest, documents=dict(documents))
        data = signed("manifest", manifest, signers)
        file = manifest_file(*manifest.number)
        return self.publish(file, data, now=look.now, before=look.verdict, wanted=wanted)

    def publish(
        self,
        file: str,
        data: bytes,
        *,
        now: Seconds,
        before: Verdict | None = None,
        wanted: Sequence[Subject] = (),
    ) -> Released:
        """Write a document where it counts if it holds, and to ``pending/`` if signatures lack."""
        before = before or self.look(now).verdict
        try:
            after = self._judge({**self.store.read(), file: data}, now)
        except TrustError as error:
            if error.code == "trust.threshold" and error.attributes["file"] == file:
                self.store.replace({f"{PENDING}/{file}": data})
                return Released(f"{PENDING}/{file}", is_pending=True)
            if not (file.startswith("root/") and error.code == "trust.root_mismatch"):
                raise  # a new root makes every older manifest unusable; the next one follows
        else:
            check_release(before, after, wanted)
        self.write({file: data})
        self.store.remove_pending(file)
        return Released(file, is_pending=False)

    def _judge(self, store: StoreBytes, now: Seconds, mark: Mark | None = None) -> Verdict:
        return judge(store, pin=self.pin, deployment=self.deployment, mark=mark, now=now)
