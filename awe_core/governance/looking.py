"""`Overview`: one store under one pinned root, as whoever decides about it sees it.

Reading alone: where records stand, what is in force, what a new root would cost, what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import TrustError
from awe_core.governance.checking import faults
from awe_core.governance.releases import latest
from awe_core.governance.roots import losses, read_root, successor, write_root
from awe_core.governance.survey import find, read_statements, survey
from awe_core.governance.views import views
from awe_core.lifecycle import State
from awe_core.records import Manifest, Root, timestamp
from awe_core.trust import envelopes, judge
from awe_core.trust.history import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.errors import AweError
    from awe_core.governance.checking import Fault
    from awe_core.governance.store import StoreFolder
    from awe_core.governance.survey import Kind, Subject, SubjectState
    from awe_core.records import Digest, FacadeRecord, PackRecord, Seconds
    from awe_core.trust import Chain, Mark, StoreBytes, Verdict
    from awe_core.values import JsonObject


_GONE_BACK = frozenset({"trust.rollback", "trust.equivocation", "trust.chain", "store.gap"})


@attrs.frozen
class Look:
    """The store at one moment, read once."""

    store: StoreBytes
    chain: Chain
    verdict: Verdict | None
    failure: TrustError | None  #: why the manifest does not hold
    states: tuple[SubjectState, ...]
    now: Seconds

    @property
    def root(self) -> Root:
        """The root in force."""
        return self.chain.current

    def must_be_news(self) -> None:
        """Refuse to decide on a store that has gone back: that is an attack or a lost backup."""
        if self.failure is not None and self.failure.code in _GONE_BACK:
            raise self.failure


@attrs.frozen
class Overview:
    """The store of one deployment, and how far whoever looks has come in it."""

    store: StoreFolder
    pin: Digest
    deployment: str
    mark: Mark | None = None  #: how far whoever asks has come; nothing older is taken

    def root(self) -> Root:
        """Give the root in force, whether or not a manifest was made for it."""
        return walk(self.store.read(), pin=self.pin, deployment=self.deployment).current

    def to_be_pinned(self) -> frozenset[str]:
        """Name the deployment's files that the next manifest has to pin."""
        store = self.store.read()
        chain = walk(store, pin=self.pin, deployment=self.deployment)
        before = latest(store, chain)
        always = {"people.yaml"} if chain.current.environment == "prod" else set()
        return frozenset(before.manifest.documents if before else ()) | always

    def history(self) -> Iterator[JsonObject]:
        """List all roots and manifests of the store, oldest first, and who signed them."""
        store = self.store.read()
        keys = walk(store, pin=self.pin, deployment=self.deployment).every_key
        for file in sorted(store, key=lambda name: (name.startswith("manifests/"), name)):
            is_root = file.startswith("root/")
            if is_root or file.startswith("manifests/"):
                kind = "trust-root" if is_root else "manifest"
                envelope = envelopes.parse(store[file], kind, at=file)
                document = envelope.document(Root) if is_root else envelope.document(Manifest)
                yield {
                    "file": file,
                    "issued": timestamp(document.issued),
                    "expires": timestamp(document.expires),
                    "signed_by": sorted({key.owner for key in envelope.signers(keys).values()}),
                    "digest": envelope.digest,
                }

    def verdict(self, *, now: Seconds) -> Verdict:
        """Judge the store as it is.

        :raises TrustError: root or manifest do not hold
        """
        return self._judge(self.store.read(), now)

    def states(self, *, now: Seconds) -> tuple[SubjectState, ...]:
        """Tell where every record stands; packs first, then facades."""
        return self._look(now).states

    def find(self, name: str, *, now: Seconds, kind: Kind | None = None) -> SubjectState:
        """Resolve NAME@VERSION (or NAME, or the beginning of a digest).

        :raises UsageError: ``governance.unknown``, ``governance.ambiguous``
        """
        return find(self._look(now).states, name, kind=kind)

    def in_force(self, subject: Subject, now: Seconds) -> PackRecord | FacadeRecord | None:
        """Give the ACTIVE record that *subject* would take the place of; None: there is none."""
        for each in self.states(now=now):
            other, group = each.subject, (subject.kind, subject.group)
            if each.state is State.ACTIVE and (other.kind, other.group) == group:
                return other.record if other.digest != subject.digest else None
        return None

    def next_revision(self, name: str, version: str) -> int:
        """Tell the revision that the same version gets when it is proposed anew."""
        records = (each.subject.record for each in self._look(0).states)
        named = (each for each in records if each.name == name)
        same = (each for each in named if each.kind == "facade" or each.version == version)
        return max((each.revision for each in same), default=0) + 1

    def faults(self, *, now: Seconds) -> Iterator[Fault]:
        """Check the store whole: every file, every signature, every entry, every view.

        :raises TrustError: the roots do not hold
        """
        look = self._look(now)
        yield from faults(self.store, look.store, look.chain)
        if look.failure is not None:
            yield "manifests", look.failure
        for each in look.verdict.entries if look.verdict else ():
            yield from ((each.name, refusal) for refusal in each.refusals)

    def write_views(self) -> None:
        """Write the YAML that people read in pull requests anew."""
        self.store.replace(views(self.store.read()))

    # ---------------------------------------------------------------------------- roots to come

    def next_root(self, *, now: Seconds, file: str) -> bytes:
        """Write the root that follows as people edit it; so far nothing differs but its dates."""
        return write_root(successor(self._look(now).root, now=now), file=file)

    def read_root(self, text: bytes, *, file: str) -> Root:
        """Read the next root as people wrote it; raised as by `roots.read_root`."""
        store = self.store.read()
        chain = walk(store, pin=self.pin, deployment=self.deployment)
        return read_root(text, file=file, chain=chain, statements=read_statements(store, chain))

    def losses(self, root: Root, *, now: Seconds) -> tuple[tuple[str, AweError], ...]:
        """Name what runs today and would lack approvals under *root*, with the reason."""
        if root.version == 1:
            return ()
        look = self._look(now)
        return tuple(losses(look.states, look.store, look.chain, root, now=now))

    def before(self, document: Root | Manifest, *, now: Seconds) -> Root | Manifest | None:
        """Give what *document* would take the place of; None: there is nothing yet."""
        if isinstance(document, Root):
            return None if document.version == 1 else self.root()
        verdict = self._look(now).verdict
        return verdict.manifest if verdict else None

    # --------------------------------------------------------------------------------- inside

    def _look(self, now: Seconds) -> Look:
        """Read the store once."""
        store = self.store.read()
        chain = walk(store, pin=self.pin, deployment=self.deployment)
        verdict, failure = None, None
        try:
            verdict = self._judge(store, now)
        except TrustError as error:
            failure = error
        states = survey(store, chain, verdict, now=now)
        return Look(store, chain, verdict, failure, states, now)

    def _stands(self, subject: Subject, now: Seconds) -> tuple[Look, SubjectState]:
        look = self._look(now)
        return look, find(look.states, subject.digest)

    def _judge(self, store: StoreBytes, now: Seconds) -> Verdict:
        return judge(store, pin=self.pin, deployment=self.deployment, mark=self.mark, now=now)
