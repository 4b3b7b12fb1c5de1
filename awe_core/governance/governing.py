"""`Governance`: the verbs by which people decide about the records of one deployment.

Each verb checks the table of `lifecycle`, signs one statement (or the next manifest), judges the
result in memory, as part of the store it would make, and only then writes it.  Time and keys are
handed in; nothing is read from the clock.  What lacks signatures waits under ``pending/`` until
`sign` has added the last one.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import PackError, TrustError, UsageError
from awe_core.governance.looking import Look, Overview
from awe_core.governance.releases import (
    Change,
    check_release,
    entitled,
    latest,
    next_manifest,
    signed,
    signed_also,
    statement,
)
from awe_core.governance.store import PENDING
from awe_core.governance.survey import record_file, subject_of
from awe_core.governance.views import views
from awe_core.lifecycle import TRANSITIONS, State, transition
from awe_core.records import Root
from awe_core.trust import envelopes, manifest_file, needs, root_file
from awe_core.trust.decisions import DECIDERS, excluded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Unpack

    from awe_core.governance.releases import By
    from awe_core.governance.store import StoreFolder
    from awe_core.governance.survey import Subject, SubjectState
    from awe_core.records import Digest, FacadeRecord, PackRecord, Seconds
    from awe_core.trust import Signer, Verdict
    from awe_core.trust.envelopes import Envelope

SUNSET_S = 7 * 86_400  #: how long a replaced record takes new runs, unless told otherwise

_NEVER_APPROVED = frozenset({State.NONE, State.REJECTED, State.WITHDRAWN, State.REVOKED})


@attrs.frozen
class Released:
    """What became of a document that takes signatures."""

    file: str  #: relative to the store
    is_pending: bool  #: it still lacks signatures; `Governance.sign` adds them
    refused: tuple[str, ...] = ()  #: what it lists and does not let run, with the reason


@attrs.frozen
class Governance(Overview):
    """What people can decide about the records of one deployment."""

    # --------------------------------------------------------------------- people's decisions

    def propose(
        self,
        record: PackRecord | FacadeRecord,
        facades: Iterable[FacadeRecord] = (),
        papers: Mapping[str, bytes] = MappingProxyType({}),
        **by: Unpack[By],
    ) -> tuple[Subject, ...]:
        """Put a pack and the facades it comes with before people.

        :param papers: what reviewers read beside the record: name in its folder → content
        """
        subjects = [subject_of(record), *(subject_of(facade) for facade in facades)]
        look = self._look(by["now"])
        look.must_be_news()
        states = {each.subject.digest: each.state for each in look.states}
        files: dict[str, bytes] = {}
        proposed = []
        for subject in subjects:
            before = states.get(subject.digest, State.NONE)
            if before is State.ACTIVE and subject.kind == "facade":
                continue  # a new version of its pack leaves it as it was approved
            transition(before, State.PROPOSED, subject=subject.title)
            _must_propose(look, subject, by["signer"])
            files |= dict([record_file(subject)])
            files |= statement(look.root, subject, "propose", "proposer", by)
            proposed.append(subject)
        folder = record_file(subjects[0])[0].rpartition("/")[0]
        self.store.replace({f"{folder}/{name}": data for name, data in papers.items()})
        self._write(files)
        return tuple(proposed)

    def approve(self, subject: Subject, *, role: str, **by: Unpack[By]) -> SubjectState:
        """Approve a record under one role."""
        look, known = self._stands(subject, by["now"])
        look.must_be_news()
        subject = known.subject
        if known.state in _NEVER_APPROVED:
            transition(known.state, State.APPROVED, subject=subject.title)
        _must_be_asked(look, known, role)
        key = entitled(look.root, by["signer"], role=role)
        about = {"owner": key.owner, "name": subject.title}
        if key.kind == "machine":
            raise PackError("pack.approval_kind", decision="approve", **about)
        if key.owner in excluded(subject.record, look.root):
            raise PackError("pack.self_approval", **about)
        given = (each for each in known.signed if each.statement.decision == "approve")
        others = {each.owner for each in given if each.statement.role != role}
        if key.owner in others and not look.root.policy.self_approval:
            raise PackError("pack.separation_of_duties", name=subject.title, role=role)
        return self._say(look, known, "approve", role, by)

    def reject(self, subject: Subject, *, role: str, **by: Unpack[By]) -> SubjectState:
        """End a proposal."""
        look, known = self._step(subject, State.REJECTED, by["now"])
        _must_be_asked(look, known, role)
        return self._say(look, known, "reject", role, by)

    def withdraw(self, subject: Subject, **by: Unpack[By]) -> SubjectState:
        """Take one's own proposal back."""
        look, known = self._step(subject, State.WITHDRAWN, by["now"])
        _must_propose(look, known.subject, by["signer"])
        return self._say(look, known, "withdraw", "proposer", by)

    def suspend(self, subject: Subject, **by: Unpack[By]) -> SubjectState:
        """Stop new calls at once; needs no release."""
        return self._stop(subject, "suspend", State.SUSPENDED, by)

    def revoke(self, subject: Subject, **by: Unpack[By]) -> SubjectState:
        """Stop a record for ever, at once; needs no release."""
        return self._stop(subject, "revoke", State.REVOKED, by)

    def resume(self, subject: Subject, **by: Unpack[By]) -> SubjectState:
        """Lift what stopped a record; it is ACTIVE again when `activate` has released that."""
        look, known = self._step(subject, State.ACTIVE, by["now"])
        look.must_be_news()
        lifted: list[Digest | None] = [each.digest for each in known.standing_stops]
        if known.state is State.SUPERSEDED:
            lifted = [look.verdict.manifest_digest] if look.verdict else []
        for stop in lifted:
            self._write(statement(look.root, known.subject, "resume", "security", by, stops=stop))
        return self._stands(known.subject, look.now)[1]

    # ------------------------------------------------------------------------------- releases

    def activate(
        self,
        subject: Subject,
        *,
        signers: Sequence[Signer],
        now: Seconds,
        at_once: bool = False,
        documents: Mapping[str, Digest] | None = None,
    ) -> Released:
        """Make a record ACTIVE; the one it replaces drains, or with *at_once* is superseded.

        The facades that a pack brings go with it, as far as they are approved.

        :param documents: deployment files to pin, path → digest; None: as they were
        """
        look, known = self._stands(subject, now)
        title = known.subject.title
        if known.lacking and (known.state, State.APPROVED) in TRANSITIONS:
            raise known.lacking[0]
        transition(known.state, State.ACTIVE, subject=title)
        for stop in known.standing_stops:
            raise PackError("pack.resume_missing", name=title, stop=stop.digest[:12])
        brought = getattr(known.subject.record, "facades", ())
        wanted = [known.subject] + [
            each.subject
            for each in look.states
            if each.subject.digest in brought and each.state is State.APPROVED
        ]
        changes = {subject.digest: Change(State.ACTIVE) for subject in wanted}
        drains = Change(State.DEPRECATED, now + SUNSET_S)
        for each in look.states:
            kind, group = each.subject.kind, each.subject.group
            is_replaced = (kind, group) in {(one.kind, one.group) for one in wanted}
            if is_replaced and each.state is State.ACTIVE:  # runs keep to packs, never to facades
                leaves = at_once or kind == "facade"
                changes[each.subject.digest] = Change(State.SUPERSEDED) if leaves else drains
        return self._release(look, changes, wanted, signers, documents)

    def trust_local(
        self,
        record: PackRecord,
        facades: Iterable[FacadeRecord] = (),
        papers: Mapping[str, bytes] = MappingProxyType({}),
        **by: Unpack[By],
    ) -> tuple[Subject, ...]:
        """Propose, approve and activate in one step; only a development root lets one person."""
        subjects = self.propose(record, facades, papers, **by)
        policy = self.verdict(now=by["now"]).root.policy
        for subject in subjects:
            for role in sorted(needs(policy, subject.record)):
                self.approve(subject, role=role, **by)
        for subject in subjects:  # the first one brings those that its record lists
            if self._stands(subject, by["now"])[1].state is not State.ACTIVE:
                self.activate(subject, signers=[by["signer"]], now=by["now"])
        return subjects

    def deprecate(
        self,
        subject: Subject,
        *,
        sunset: Seconds,
        signers: Sequence[Signer],
        now: Seconds,
        documents: Mapping[str, Digest] | None = None,
    ) -> Released:
        """Let a record take new runs until *sunset* only."""
        look, known = self._stands(subject, now)
        if known.state is not State.DEPRECATED:  # another sunset is no step
            transition(known.state, State.DEPRECATED, subject=known.subject.title)
        changes = {known.subject.digest: Change(State.DEPRECATED, sunset)}
        return self._release(look, changes, [known.subject], signers, documents)

    def renew(
        self,
        *,
        signers: Sequence[Signer],
        now: Seconds,
        documents: Mapping[str, Digest] | None = None,
    ) -> Released:
        """Sign the next manifest with unchanged contents; standing stops are written into it."""
        return self._release(self._look(now), {}, [], signers, documents)

    def rotate(self, root: Root, *, signers: Sequence[Signer], now: Seconds) -> Released:
        """Sign the next root, or the first one: its digest is the pin then.

        :param root: complete, its version one above the current one
        """
        for signer in signers:
            self._must_sign_roots(root, signer)
        data = signed("trust-root", root, signers)
        return self._publish(root_file(root.version), data, now=now)

    def sign(self, file: str, *, signer: Signer, now: Seconds) -> Released:
        """Add a signature to a document that waits for more.

        :param file: its name as `Released` gave it, with or without ``pending/``
        :raises UsageError: ``governance.not_pending``
        """
        name, waiting = pending(self.store, file)
        if waiting.kind == "trust-root":
            self._must_sign_roots(waiting.document(Root), signer)
        else:
            entitled(self.root(), signer, role="release")
        return self._publish(name, signed_also(waiting, signer), now=now)

    # --------------------------------------------------------------------------------- inside

    def _must_sign_roots(self, root: Root, signer: Signer) -> None:
        """Refuse a key that neither this root nor the one before asks."""
        if root.version == 1 or not self.root().holds(signer.keyid, "root"):
            entitled(root, signer, role="root")

    def _step(self, subject: Subject, after: State, now: Seconds) -> tuple[Look, SubjectState]:
        """Look where *subject* stands; refuse a step that the table does not have."""
        look, known = self._stands(subject, now)
        transition(known.state, after, subject=known.subject.title)
        return look, known

    def _stop(self, subject: Subject, decision: str, after: State, by: By) -> SubjectState:
        look, known = self._stands(subject, by["now"])
        is_lifted = known.state is State.SUSPENDED and not known.standing_stops
        if not (after is State.SUSPENDED and is_lifted):  # what was lifted can be stopped anew
            transition(known.state, after, subject=known.subject.title)
        allowed, keyid = sorted(DECIDERS[decision]), by["signer"].keyid
        role = next((role for role in allowed if look.root.holds(keyid, role)), allowed[0])
        while (
            statement(look.root, known.subject, decision, role, by).keys()
            & self.store.read().keys()
        ):
            # The same words within the same second would be the stop that was lifted since.
            by = {**by, "now": by["now"] + 1}
        return self._say(look, known, decision, role, by)

    def _say(
        self, look: Look, known: SubjectState, decision: str, role: str, by: By
    ) -> SubjectState:
        self._write(statement(look.root, known.subject, decision, role, by))
        return self._stands(known.subject, look.now)[1]

    def _release(
        self,
        look: Look,
        changes: Mapping[Digest, Change],
        wanted: Sequence[Subject],
        signers: Sequence[Signer],
        documents: Mapping[str, Digest] | None,
    ) -> Released:
        """Sign the manifest that follows the newest one; the *wanted* must come out in force."""
        if look.failure is not None and look.failure.code != "trust.root_mismatch":
            raise look.failure
        for signer in signers:
            entitled(look.root, signer, role="release")
        base = latest(look.store, look.chain)
        manifest = next_manifest(base, look.states, changes, root=look.root, now=look.now)
        if documents is not None:
            manifest = attrs.evolve(manifest, documents=dict(documents))
        data, file = signed("manifest", manifest, signers), manifest_file(*manifest.number)
        return self._publish(file, data, now=look.now, before=look.verdict, wanted=wanted)

    def _publish(
        self,
        file: str,
        data: bytes,
        *,
        now: Seconds,
        before: Verdict | None = None,
        wanted: Sequence[Subject] = (),
    ) -> Released:
        """Write a document where it counts if it holds, and to ``pending/`` if signatures lack."""
        if before is None and file != root_file(1):
            before = self._look(now).verdict
        refused: tuple[str, ...] = ()
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
            refused = tuple(f"{e.name}: {e.refusals[0]}" for e in after.entries if e.refusals)
        self._write({file: data})
        self.store.remove_pending(file)
        return Released(file, is_pending=False, refused=refused)

    def _write(self, files: Mapping[str, bytes]) -> None:
        """Add documents and show them in the views."""
        self.store.add(files)
        self.store.replace(views(files))


def pending(store: StoreFolder, file: str) -> tuple[str, Envelope]:
    """Give the document that waits for signatures as *file*, and its name in the store.

    :raises UsageError: ``governance.not_pending``
    """
    name = file.rpartition(f"{PENDING}/")[2]
    data = store.read_pending().get(name)
    if data is None:
        raise UsageError("governance.not_pending", file=file)
    kind = "trust-root" if name.startswith("root/") else "manifest"
    return name, envelopes.parse(data, kind, at=name)


def _must_propose(look: Look, subject: Subject, signer: Signer) -> None:
    owner = entitled(look.root, signer, role="proposer").owner
    proposer = subject.record.proposed_by
    if owner != proposer:
        raise PackError("pack.proposer", name=subject.title, proposer=proposer, owner=owner)


def _must_be_asked(look: Look, known: SubjectState, role: str) -> None:
    needed = needs(look.root.policy, known.subject.record)
    if role not in needed:
        name, asked = known.subject.title, ", ".join(sorted(needed)) or "no role"
        raise UsageError("governance.role_not_asked", name=name, role=role, asked=asked)
