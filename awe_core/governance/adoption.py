"""From a verdict to the journal: what this home has not yet recorded becomes governance events.

Rules: one event a statement and one a transition, each once (`Adopted` is folded from the events
themselves, so what was recorded is known without another table); the new mark is written by the
caller in the same transaction as the events.  Until then nothing of the verdict is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.governance.survey import Subject, lacks, read_statements, read_subjects
from awe_core.lifecycle import State
from awe_core.trust import envelopes, root_file
from awe_core.trust.history import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from awe_core.records import Digest
    from awe_core.trust import Signed, StoreBytes, Verdict
    from awe_core.values import Json, JsonObject

_MICROSECONDS = 1_000_000
_AFTER = {
    "propose": (State.PROPOSED, "proposed"),
    "reject": (State.REJECTED, "rejected"),
    "withdraw": (State.WITHDRAWN, "withdrawn"),
    "suspend": (State.SUSPENDED, "suspended"),
    "revoke": (State.REVOKED, "revoked"),
}


@attrs.define
class Adopted:
    """What the journal of this home already tells."""

    statements: set[Digest] = attrs.field(factory=set)
    states: dict[Digest, State] = attrs.field(factory=dict)  #: of records
    root: Mapping[str, Json] | None = None  #: {version, digest}
    manifest: Mapping[str, Json] | None = None  #: {root_version, version, digest}
    phase: str = "valid"

    def take(self, event: JsonObject) -> None:
        """Apply one event; others than those of governance change nothing."""
        kind = event["kind"]
        if kind == "trust.root_changed":
            self.root = event["to"]
        elif kind == "trust.manifest_changed":
            self.manifest = event["to"]
            self.phase = "valid" if event["cause"] == "issued" else event["cause"]
        elif kind.startswith(("pack.", "facade.")):
            self.statements.update([event["statement"]] if event.get("statement") else [])
            self.states[event["subject"]["record"]] = State(event["to"])


def fold(events: Iterable[JsonObject]) -> Adopted:
    """Tell what a journal has adopted."""
    adopted = Adopted()
    for event in events:
        adopted.take(event)
    return adopted


def events_of(
    verdict: Verdict, store: StoreBytes, *, adopted: Adopted, pin: Digest
) -> tuple[JsonObject, ...]:
    """Give the events that *adopted* lacks, in the order they are recorded; it takes them.

    :param store: what *verdict* was judged from
    """
    chain = walk(store, pin=pin, deployment=verdict.root.deployment)
    statements = read_statements(store, chain)
    found: list[JsonObject] = []
    for events in (  # each is lazy, so it sees what was taken before
        _root(verdict, store, adopted),
        _stated(verdict, store, adopted, statements),
        _manifest(verdict, adopted),
        _transitions(verdict, adopted, statements),
    ):
        for event in events:
            found.append({k: value for k, value in event.items() if value is not None})
            adopted.take(found[-1])
    return tuple(found)


def _root(verdict: Verdict, store: StoreBytes, adopted: Adopted) -> Iterator[JsonObject]:
    root = verdict.root
    to: JsonObject = {"version": root.version, "digest": verdict.root_digest}
    if to != adopted.root:
        file = root_file(root.version)
        keyids = sorted(envelopes.parse(store[file], "trust-root", at=file).signers(root.keys))
        yield {"kind": "trust.root_changed", "from": adopted.root, "to": to, "keyids": keyids}


def _stated(
    verdict: Verdict, store: StoreBytes, adopted: Adopted, statements: Sequence[Signed]
) -> Iterator[JsonObject]:
    """Give one event for each new statement; a resume takes effect by a manifest."""
    known = {each.digest: each for each in read_subjects(store)}
    for n, each in enumerate(statements):
        said = each.statement
        subject = known.get(said.subject)
        if each.digest in adopted.statements or subject is None or said.decision == "resume":
            continue
        before = adopted.states.get(subject.digest, State.NONE)
        after, verb = _AFTER.get(said.decision, (before, "approved"))
        if said.decision == "approve" and before in {State.NONE, State.PROPOSED}:
            earlier = [s for s in statements[: n + 1] if s.statement.subject == subject.digest]
            is_lacking = lacks(subject, earlier, verdict.root, at=said.at)
            after = State.PROPOSED if is_lacking else State.APPROVED
        yield _event(subject, verb, before, after) | _by(each)


def _manifest(verdict: Verdict, adopted: Adopted) -> Iterator[JsonObject]:
    if verdict.manifest is None:
        return
    root_version, version = verdict.manifest.number
    digest = verdict.manifest_digest
    to: JsonObject = {"root_version": root_version, "version": version, "digest": digest}
    expires_us = verdict.manifest.expires * _MICROSECONDS
    about = {"kind": "trust.manifest_changed", "to": to, "expires_us": expires_us}
    if to != adopted.manifest:
        yield {**about, "cause": "issued", "from": adopted.manifest}
    if verdict.phase != adopted.phase:
        yield {**about, "cause": verdict.phase, "from": to}


def _transitions(
    verdict: Verdict, adopted: Adopted, statements: Sequence[Signed]
) -> Iterator[JsonObject]:
    """Give one event for each record whose state the manifest has moved."""
    by: JsonObject = {"manifest": verdict.manifest_digest}
    for keyid in sorted(verdict.released_by)[:1]:
        by |= {"owner": verdict.released_by[keyid].owner, "keyid": keyid, "role": "release"}
    for each in verdict.entries:
        before, after = adopted.states.get(each.digest, State.NONE), each.own_status
        is_observed = bool(each.refusals) and each.permits.new  # a development root lets it pass
        if (each.refusals and not is_observed) or before is after:
            continue
        verb = "activated" if after is State.ACTIVE else after.lower()
        event = _event(Subject(each.record, each.digest), verb, before, after) | by
        if is_observed:
            event["reason"] = "observed: " + "; ".join(map(str, each.refusals))
        is_back = after is State.ACTIVE and before in {State.SUSPENDED, State.SUPERSEDED}
        for resume in reversed(statements) if is_back else ():
            said = resume.statement
            is_ours = said.subject == each.digest and resume.digest in each.statements
            if is_ours and said.decision == "resume":
                event |= {"kind": event["kind"].replace("activated", "resumed"), **_by(resume)}
                break
        yield event


def _by(signed: Signed) -> JsonObject:
    """Tell who decided, and by what."""
    role, reason = signed.statement.role, signed.statement.reason
    who = {"owner": signed.owner, "keyid": signed.keyid, "role": role}
    return {**who, "statement": signed.digest, "reason": reason}


def _event(subject: Subject, verb: str, before: State, after: State) -> JsonObject:
    named = "facade" if subject.kind == "facade" else "distribution"
    about = {named: subject.group, "version": subject.record.version, "record": subject.digest}
    change = {"from": before.value, "to": after.value}
    return {"kind": f"{subject.kind}.{verb}", "subject": about, **change}
