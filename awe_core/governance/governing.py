"""`Governance`: the verbs by which people decide about the records of one deployment.

Each verb checks the table of `lifecycle`, signs one statement (or the next manifest), judges the
result in memory and only then writes it.  Time and keys are handed in; nothing is read from the
clock.  What lacks signatures waits under ``pending/`` until `sign` has added the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import PackError, UsageError
from awe_core.governance.desk import Desk
from awe_core.governance.documents import entitled, record_file, signed, signed_also, subject_of
from awe_core.governance.releases import Change
from awe_core.governance.store import PENDING
from awe_core.lifecycle import TRANSITIONS, State, transition
from awe_core.trust import dsse, needs, root_file
from awe_core.trust.approvals import excluded
from awe_core.trust.statements import DECIDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Unpack

    from awe_core.governance.desk import By, Look, Released
    from awe_core.governance.documents import Subject
    from awe_core.governance.survey import SubjectState
    from awe_core.records import Digest, FacadeRecord, PackRecord, Root, Seconds
    from awe_core.trust import Signer

SUNSET_S = 7 * 86_400  #: how long a replaced record takes new runs, unless told otherwise
_NEVER_APPROVED = frozenset({State.NONE, State.REJECTED, State.WITHDRAWN, State.REVOKED})


@attrs.frozen
class Governance(Desk):
    """What people can decide about the records of one deployment."""

    # ------------------------------------------------------------------------- people's decisions

    def propose(
        self,
        record: PackRecord,
        facades: Iterable[FacadeRecord] = (),
        *,
        attachments: Mapping[str, bytes] | None = None,
        **by: Unpack[By],
    ) -> tuple[Subject, ...]:
        """Put a pack and the facades it comes with before people.

        :param attachments: report and evidence, by file name, kept beside the record
        :returns: the pack, then the facades
        """
        subjects = (subject_of(record), *(subject_of(facade) for facade in facades))
        files = self._proposals(subjects, by)
        folder = record_file(subjects[0])[0].rpartition("/")[0]
        self.store.add({f"{folder}/{name}": data for name, data in (attachments or {}).items()})
        self.write(files)
        return subjects

    def propose_facade(self, record: FacadeRecord, **by: Unpack[By]) -> Subject:
        """Put a facade of the deployment's own before people."""
        subject = subject_of(record)
        self.write(self._proposals((subject,), by))
        return subject

    def approve(self, subject: Subject, *, role: str, **by: Unpack[By]) -> SubjectState:
        """Approve a record under one role."""
        look = self.look(by["now"])
        known = look.of(subject)
        name = known.subject.title
        if known.state in _NEVER_APPROVED:
            transition(known.state, State.APPROVED, subject=name)
        _must_be_asked(look, known, role)
        key = entitled(look.root, by["signer"], role=role)
        if key.kind == "machine":
            raise PackError("pack.approval_kind", owner=key.owner, decision="approve", name=name)
        if key.owner in excluded(known.subject.record, look.root):
            raise PackError("pack.self_approval", owner=key.owner, name=name)
        given = [each for each in known.signed if each.statement.decision == "approve"]
        others = {each.owner for each in given if each.statement.role != role}
        if key.owner in others and not look.root.policy.self_approval:
            raise PackError("pack.separation_of_duties", name=name, role=role)
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
        look, known = self._step(subject, State.SUSPENDED, by["now"])
        role = _stopping_role(look.root, "suspend", by["signer"])
        return self._say(look, known, "suspend", role, by)

    def revoke(self, subject: Subject, **by: Unpack[By]) -> SubjectState:
        """Stop a record for ever, at once; needs no release."""
        look, known = self._step(subject, State.REVOKED, by["now"])
        role = _stopping_role(look.root, "revoke", by["signer"])
        return self._say(look, known, "revoke", role, by)

    def resume(self, subject: Subject, **by: Unpack[By]) -> SubjectState:
        """Lift what stopped a record; it is ACTIVE again when `activate` has released that."""
        look, known = self._step(subject, State.ACTIVE, by["now"])
        lifted: list[Digest | None] = [each.digest for each in known.standing_stops]
        if known.state is State.SUPERSEDED:
            lifted = [look.verdict.manifest_digest] if look.verdict else []
        for stop in lifted:
            self.write(look.statement(known.subject, "resume", "security", by, stops=stop))
        return self.look(look.now).of(known.subject)

    # ----------------------------------------------------------------------------------- releases

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

        :param documents: deployment files to pin, path → digest; None: as they were
        """
        look = self.look(now)
        known = look.of(subject)
        wanted = known.subject
        if known.lacking and (known.state, State.APPROVED) in TRANSITIONS:
            raise known.lacking[0]
        transition(known.state, State.ACTIVE, subject=wanted.title)
        for stop in known.standing_stops:
            raise PackError("pack.resume_missing", name=wanted.title, stop=stop.digest[:12])
        replaced = Change(State.SUPERSEDED) if at_once else Change(State.DEPRECATED, now + SUNSET_S)
        changes = {
            each.subject.digest: replaced
            for each in look.states
            if (each.subject.kind, each.subject.group) == (wanted.kind, wanted.group)
            and each.state is State.ACTIVE
        }
        changes[wanted.digest] = Change(State.ACTIVE)
        return self.release(look, changes, [wanted], signers, documents)

    def trust_local(
        self, record: PackRecord, facades: Iterable[FacadeRecord] = (), **by: Unpack[By]
    ) -> tuple[Subject, ...]:
        """Propose, approve and activate in one step; only a development root lets one person."""
        subjects = self.propose(record, facades, **by)
        policy = self.verdict(now=by["now"]).root.policy
        for subject in subjects:
            for role in sorted(needs(policy, subject.record)):
                self.approve(subject, role=role, **by)
            self.activate(subject, signers=[by["signer"]], now=by["now"])
        return subjects

    def deprecate(
        self, subject: Subject, *, sunset: Seconds, signers: Sequence[Signer], now: Seconds
    ) -> Released:
        """Let a record take new runs until *sunset* only."""
        look = self.look(now)
        known = look.of(subject)
        if known.state is not State.DEPRECATED:  # another sunset is no step
            transition(known.state, State.DEPRECATED, subject=known.subject.title)
        changes = {known.subject.digest: Change(State.DEPRECATED, sunset)}
        return self.release(look, changes, [known.subject], signers, None)

    def renew(
        self,
        *,
        signers: Sequence[Signer],
        now: Seconds,
        documents: Mapping[str, Digest] | None = None,
    ) -> Released:
        """Sign the next manifest with unchanged contents; standing stops are written into it."""
        return self.release(self.look(now), {}, [], signers, documents)

    def rotate(self, root: Root, *, signers: Sequence[Signer], now: Seconds) -> Released:
        """Sign the next root.

        :param root: complete, its version one above the current one
        """
        data = signed("trust-root", root, signers)
        return self.publish(root_file(root.version), data, now=now)

    def sign(self, file: str, *, signer: Signer, now: Seconds) -> Released:
        """Add a signature to a document that waits for more.

        :param file: its name as `Released` gave it, with or without ``pending/``
        :raises UsageError: ``governance.not_pending``
        """
        name = file.removeprefix(f"{PENDING}/")
        data = self.store.read_pending().get(name)
        if data is None:
            raise UsageError("governance.not_pending", file=file)
        kind = "trust-root" if name.startswith("root/") else "manifest"
        return self.publish(name, signed_also(dsse.parse(data, kind, at=name), signer), now=now)

    # ------------------------------------------------------------------------------------- inside

    def _proposals(self, subjects: Iterable[Subject], by: By) -> dict[str, bytes]:
        look = self.look(by["now"])
        states = {each.subject.digest: each.state for each in look.states}
        files: dict[str, bytes] = {}
        for subject in subjects:
            before = states.get(subject.digest, State.NONE)
            transition(before, State.PROPOSED, subject=subject.title)
            _must_propose(look, subject, by["signer"])
            files |= dict([record_file(subject)])
            files |= look.statement(subject, "propose", "proposer", by)
        return files

    def _step(self, subject: Subject, after: State, now: Seconds) -> tuple[Look, SubjectState]:
        """Look where *subject* stands; refuse a step that the table does not have."""
        look = self.look(now)
        known = look.of(subject)
        transition(known.state, after, subject=known.subject.title)
        return look, known

    def _say(
        self, look: Look, known: SubjectState, decision: str, role: str, by: By
    ) -> SubjectState:
        self.write(look.statement(known.subject, decision, role, by))
        return self.look(look.now).of(known.subject)


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


def _stopping_role(root: Root, decision: str, signer: Signer) -> str:
    """Give the role under which *signer* may stop a record, or the one that is lacking."""
    allowed = sorted(DECIDERS[decision])
    return next((role for role in allowed if root.holds(signer.keyid, role)), allowed[0])
