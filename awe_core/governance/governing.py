"""`Governance`: the verbs by which people decide about the records of one deployment.

Each verb checks the table of `lifecycle`, signs one statement (or the next manifest), judges the
result in memory and only then writes it.  Time and keys are handed in; nothing is read from the
clock.  What lacks signatures waits under ``pending/`` until `sign` has added the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import PackError, UsageError
from awe_core.governance.desk import Desk
from awe_core.governance.documents import (
    Subject,
    entitled,
    record_file,
    sign_also,
    sign_payload,
    statement,
    subject_of,
)
from awe_core.governance.releases import Change, standing_stops
from awe_core.governance.store import PENDING
from awe_core.lifecycle import TRANSITIONS, State, transition
from awe_core.trust import DECIDERS, needs, parse_envelope, root_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from awe_core.governance.desk import Look, Released
    from awe_core.governance.survey import SubjectState
    from awe_core.records import Digest, FacadeRecord, PackRecord, Root, Seconds
    from awe_core.trust import Signer

SUNSET_S = 7 * 86_400  #: how long a replaced record takes new runs, unless told otherwise
_APPROVABLE = frozenset(
    {
        *(State.PROPOSED, State.APPROVED, State.ACTIVE),
        *(State.DEPRECATED, State.SUSPENDED, State.SUPERSEDED),
    }
)


@attrs.frozen
class Governance(Desk):
    """What people can decide about the records of one deployment."""

    # ------------------------------------------------------------------------- people's decisions

    def propose(  # noqa: PLR0913 - what a proposal is made of
        self,
        record: PackRecord,
        facades: Iterable[FacadeRecord] = (),
        *,
        signer: Signer,
        reason: str,
        now: Seconds,
        attachments: Mapping[str, bytes] | None = None,
    ) -> tuple[Subject, ...]:
        """Put a pack and the facades it comes with before people.

        :param attachments: report and evidence, by file name, kept beside the record
        :returns: the pack, then the facades
        """
        look = self.look(now)
        files: dict[str, bytes] = {}
        records: tuple[PackRecord | FacadeRecord, ...] = (record, *facades)
        subjects = tuple(subject_of(each) for each in records)
        for subject in subjects:
            files |= self._proposal(look, subject, signer=signer, reason=reason)
        folder = record_file(subjects[0])[0].rpartition("/")[0]
        self.store.add({f"{folder}/{name}": data for name, data in (attachments or {}).items()})
        self.write(files)
        return subjects

    def propose_facade(
        self, record: FacadeRecord, *, signer: Signer, reason: str, now: Seconds
    ) -> Subject:
        """Put a facade of the deployment's own before people."""
        subject = subject_of(record)
        self.write(self._proposal(self.look(now), subject, signer=signer, reason=reason))
        return subject

    def approve(
        self, subject: Subject, *, role: str, signer: Signer, reason: str, now: Seconds
    ) -> SubjectState:
        """Approve a record under one role."""
        look = self.look(now)
        known = look.of(subject)
        title = known.subject.title
        if known.state not in _APPROVABLE:
            transition(known.state, State.APPROVED, subject=title)
        self._asked(look, known, role)
        key = entitled(look.root, signer, role=role)
        if key.kind == "machine":
            raise PackError("pack.approval_kind", owner=key.owner, decision="approve", name=title)
        if not look.root.policy.self_approval:
            record = known.subject.record
            if key.owner in {record.proposed_by, *record.authors}:
                raise PackError("pack.self_approval", owner=key.owner, name=title)
            if any(
                each.owner == key.owner
                and each.statement.decision == "approve"
                and each.statement.role != role
                for each in known.signed
            ):
                raise PackError("pack.separation_of_duties", name=title, role=role)
        return self._say(look, known, "approve", role=role, signer=signer, reason=reason)

    def reject(
        self, subject: Subject, *, role: str, signer: Signer, reason: str, now: Seconds
    ) -> SubjectState:
        """End a proposal."""
        look = self.look(now)
        known = look.of(subject)
        transition(known.state, State.REJECTED, subject=known.subject.title)
        self._asked(look, known, role)
        return self._say(look, known, "reject", role=role, signer=signer, reason=reason)

    def withdraw(
        self, subject: Subject, *, signer: Signer, reason: str, now: Seconds
    ) -> SubjectState:
        """Take one's own proposal back."""
        look = self.look(now)
        known = look.of(subject)
        transition(known.state, State.WITHDRAWN, subject=known.subject.title)
        self._must_propose(look, known.subject, signer)
        return self._say(look, known, "withdraw", role="proposer", signer=signer, reason=reason)

    def suspend(
        self, subject: Subject, *, signer: Signer, reason: str, now: Seconds
    ) -> SubjectState:
        """Stop new calls at once; needs no release."""
        return self._stop(
            subject, State.SUSPENDED, "suspend", signer=signer, reason=reason, now=now
        )

    def revoke(
        self, subject: Subject, *, signer: Signer, reason: str, now: Seconds
    ) -> SubjectState:
        """Stop a record for ever, at once; needs no release."""
        return self._stop(subject, State.REVOKED, "revoke", signer=signer, reason=reason, now=now)

    def resume(
        self, subject: Subject, *, signer: Signer, reason: str, now: Seconds
    ) -> SubjectState:
        """Lift what stopped a record; it is ACTIVE again when `activate` has released that."""
        look = self.look(now)
        known = look.of(subject)
        transition(known.state, State.ACTIVE, subject=known.subject.title)
        if known.state is State.SUPERSEDED:
            lifted = [look.verdict.manifest_digest or ""] if look.verdict else []
        else:
            lifted = [each.digest for each in standing_stops(known)]
        files: dict[str, bytes] = {}
        for stop in lifted:
            file, data = statement(
                known.subject,
                "resume",
                root=look.root,
                role="security",
                signer=signer,
                reason=reason,
                now=now,
                stops=stop,
            )
            files[file] = data
        return self._write_and_find(files, known.subject, now)

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
        _must_be_approved(known)
        transition(known.state, State.ACTIVE, subject=known.subject.title)
        for stop in standing_stops(known):
            title = known.subject.title
            raise PackError("pack.resume_missing", name=title, stop=stop.digest[:12])
        changes = {known.subject.digest: Change(State.ACTIVE)}
        replaced = Change(State.SUPERSEDED) if at_once else Change(State.DEPRECATED, now + SUNSET_S)
        for other in look.states:
            same_group = type(other.subject.record) is type(known.subject.record) and (
                other.subject.group == known.subject.group
            )
            is_other = other.subject.digest != known.subject.digest
            if same_group and is_other and other.state is State.ACTIVE:
                changes[other.subject.digest] = replaced
        return self.release(look, changes, [known.subject], signers, documents)

    def trust_local(
        self,
        record: PackRecord,
        facades: Iterable[FacadeRecord] = (),
        *,
        signer: Signer,
        reason: str,
        now: Seconds,
    ) -> tuple[Subject, ...]:
        """Propose, approve and activate in one step; only a development root lets one person."""
        subjects = self.propose(record, facades, signer=signer, reason=reason, now=now)
        root = self.verdict(now=now).root
        for subject in subjects:
            for role in sorted(needs(root.policy, subject.record)):
                self.approve(subject, role=role, signer=signer, reason=reason, now=now)
            self.activate(subject, signers=[signer], now=now)
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
        payload = canonical.document(root.to_json())
        data = sign_payload("trust-root", payload, signers)
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
        envelope = parse_envelope(data, kind, at=name)
        return self.publish(name, sign_also(envelope, signer, kind=kind), now=now)

    # ------------------------------------------------------------------------------------- inside

    def _proposal(
        self, look: Look, subject: Subject, *, signer: Signer, reason: str
    ) -> dict[str, bytes]:
        before = next(
            (each.state for each in look.states if each.subject.digest == subject.digest),
            State.NONE,
        )
        transition(before, State.PROPOSED, subject=subject.title)
        self._must_propose(look, subject, signer)
        file, data = statement(
            subject,
            "propose",
            root=look.root,
            role="proposer",
            signer=signer,
            reason=reason,
            now=look.now,
        )
        return dict([record_file(subject), (file, data)])

    def _must_propose(self, look: Look, subject: Subject, signer: Signer) -> None:
        owner = entitled(look.root, signer, role="proposer").owner
        if owner != subject.record.proposed_by:
            raise PackError(
                "pack.proposer",
                name=subject.title,
                proposer=subject.record.proposed_by,
                owner=owner,
            )

    def _asked(self, look: Look, known: SubjectState, role: str) -> None:
        needed = needs(look.root.policy, known.subject.record)
        if role not in needed:
            raise UsageError(
                "governance.role_not_asked",
                name=known.subject.title,
                role=role,
                asked=", ".join(sorted(needed)) or "no role",
            )

    def _stop(  # noqa: PLR0913 - one decision
        self,
        subject: Subject,
        after: State,
        decision: str,
        *,
        signer: Signer,
        reason: str,
        now: Seconds,
    ) -> SubjectState:
        look = self.look(now)
        known = look.of(subject)
        transition(known.state, after, subject=known.subject.title)
        allowed = sorted(DECIDERS[decision])
        held = [r for r in allowed if r in look.root.roles and _holds(look.root, r, signer)]
        role = held[0] if held else allowed[0]
        return self._say(look, known, decision, role=role, signer=signer, reason=reason)

    def _say(  # noqa: PLR0913 - one decision
        self,
        look: Look,
        known: SubjectState,
        decision: str,
        *,
        role: str,
        signer: Signer,
        reason: str,
    ) -> SubjectState:
        file, data = statement(
            known.subject,
            decision,
            root=look.root,
            role=role,
            signer=signer,
            reason=reason,
            now=look.now,
        )
        return self._write_and_find({file: data}, known.subject, look.now)

    def _write_and_find(
        self, files: Mapping[str, bytes], subject: Subject, now: Seconds
    ) -> SubjectState:
        self.write(files)
        return self.look(now).of(subject)


def _holds(root: Root, role: str, signer: Signer) -> bool:
    return signer.keyid in root.roles[role].keys


def _must_be_approved(known: SubjectState) -> None:
    if known.lacking and (known.state, State.APPROVED) in TRANSITIONS:
        raise known.lacking[0]
