"""From a verdict to the journal: what this home has not yet recorded becomes governance events.

Rules: one event a statement and one a transition, each once (`Adopted` is folded from the events
themselves, so what was recorded is known without another table); the new mark is written by the
caller in the same transaction as the events.  Until then nothing of the verdict is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import TrustError
from awe_core.governance.documents import Subject
from awe_core.governance.survey import read_statements, read_subjects
from awe_core.lifecycle import State
from awe_core.trust import Mark, Stop, dsse, manifest_file, root_file
from awe_core.trust.approvals import missing
from awe_core.trust.roots import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from awe_core.records import Digest
    from awe_core.trust import FacadeVerdict, PackVerdict, Signed, StoreBytes, Verdict
    from awe_core.values import Json, JsonObject

_MICROSECONDS = 1_000_000
_AFTER = {
    "propose": (State.PROPOSED, "proposed"),
    "reject": (State.REJECTED, "rejected"),
    "withdraw": (State.WITHDRAWN, "withdrawn"),
    "suspend": (State.SUSPENDED, "suspended"),
    "revoke": (State.REVOKED, "revoked"),
}


@attrs.frozen
class Adopted:
    """What the journal of this home already tells."""

    statements: frozenset[Digest] = frozenset()
    states: Mapping[Digest, State] = attrs.field(factory=dict)  #: of records
    root: Mapping[str, Json] | None = None  #: {version, digest}
    manifest: Mapping[str, Json] | None = None  #: {root_version, version, digest}
    phase: str = "valid"

    def evolve(self, event: JsonObject) -> Adopted:
        """Apply one event; others than those of governance change nothing."""
        kind = event["kind"]
        if kind == "trust.root_changed":
            return attrs.evolve(self, root=event["to"])
        if kind == "trust.manifest_changed":
            phase = "valid" if event["cause"] == "issued" else event["cause"]
            return attrs.evolve(self, manifest=event["to"], phase=phase)
        if not kind.startswith(("pack.", "facade.")):
            return self
        statements = self.statements.union([event["statement"]] if event.get("statement") else [])
        states = {**self.states, event["subject"]["record"]: State(event["to"])}
        return attrs.evolve(self, statements=statements, states=states)


def fold(events: Iterable[JsonObject]) -> Adopted:
    """Tell what a journal has adopted."""
    adopted = Adopted()
    for event in events:
        adopted = adopted.evolve(event)
    return adopted


def events_of(
    verdict: Verdict, store: StoreBytes, *, adopted: Adopted, pin: Digest
) -> tuple[JsonObject, ...]:
    """Give the events that *adopted* lacks, in the order they are recorded.

    :param store: what *verdict* was judged from
    """
    chain = walk(store, pin=pin, deployment=verdict.root.deployment)
    statements = read_statements(store, chain)
    stated = []
    for event in _stated(verdict, read_subjects(store), adopted, statements):
        adopted = adopted.evolve(event)
        stated.append(event)
    found = [*_root(verdict, store, adopted), *stated, *_manifest(verdict, adopted)]
    found += _transitions(verdict, store, adopted, statements)
    return tuple({k: value for k, value in event.items() if value is not None} for event in found)


def _root(verdict: Verdict, store: StoreBytes, adopted: Adopted) -> Iterator[JsonObject]:
    root = verdict.root
    to: JsonObject = {"version": root.version, "digest": verdict.root_digest}
    if to != adopted.root:
        file = root_file(root.version)
        keyids = sorted(dsse.parse(store[file], "trust-root", at=file).signers(root.keys))
        yield {"kind": "trust.root_changed", "from": adopted.root, "to": to, "keyids": keyids}


def _stated(
    verdict: Verdict, subjects: Iterable[Subject], adopted: Adopted, statements: Sequence[Signed]
) -> Iterator[JsonObject]:
    """Give one event for each new statement; a resume takes effect by a manifest."""
    known = {each.digest: each for each in subjects}
    for n, each in enumerate(statements):
        subject, decision = known.get(each.statement.subject), each.statement.decision
        if each.digest in adopted.statements or subject is None or decision == "resume":
            continue
        before = adopted.states.get(subject.digest, State.NONE)
        if decision == "approve":
            earlier = [s for s in statements[: n + 1] if s.statement.subject == subject.digest]
            after, verb = _approved(subject, before, earlier, verdict), "approved"
        else:
            after, verb = _AFTER[decision]
        event = _event(subject, verb, before, after) | _by(each)
        adopted = adopted.evolve(event)
        yield event


def _approved(subject: Subject, before: State, signed: Sequence[Signed], verdict: Verdict) -> State:
    """Tell what one more approval makes of a record."""
    if before not in {State.NONE, State.PROPOSED}:
        return before
    at = signed[-1].statement.at
    lacking = missing(subject.record, subject.digest, signed, root=verdict.root, at=at)
    return State.PROPOSED if lacking else State.APPROVED


def _manifest(verdict: Verdict, adopted: Adopted) -> Iterator[JsonObject]:
    if verdict.manifest is None:
        return
    root_version, version = verdict.manifest.number
    digest = verdict.manifest_digest
    to: JsonObject = {"root_version": root_version, "version": version, "digest": digest}
    expires_us = verdict.manifest.expires * _MICROSECONDS
    about = {"kind": "trust.manifest_changed", "to": to, "expires_us": expires_us}
    phase = adopted.phase
    if to != adopted.manifest:
        phase = "valid"
        yield {**about, "cause": "issued", "from": adopted.manifest}
    if verdict.phase != phase:
        yield {**about, "cause": verdict.phase, "from": to}


def _transitions(
    verdict: Verdict, store: StoreBytes, adopted: Adopted, statements: Sequence[Signed]
) -> Iterator[JsonObject]:
    """Give one event for each record whose state the manifest has moved."""
    released = _released(verdict, store)
    for each in verdict.entries:
        before, after = adopted.states.get(each.digest, State.NONE), each.own_status
        if each.refusals or before is after:
            continue
        subject, verb, by = Subject(each.record, each.digest), after.lower(), released
        if after is State.ACTIVE:
            verb = "activated"
            if before in {State.SUSPENDED, State.SUPERSEDED}:
                for resume in _resumed_by(each, statements):
                    verb = "resumed"
                    by = {**_by(resume), "manifest": verdict.manifest_digest}
        yield _event(subject, verb, before, after) | by


def _released(verdict: Verdict, store: StoreBytes) -> JsonObject:
    """Tell who released the manifest."""
    if verdict.manifest is None:
        return {}
    file = manifest_file(*verdict.manifest.number)
    keys = {keyid: verdict.root.keys[keyid] for keyid in verdict.root.roles["release"].keys}
    held = dsse.parse(store[file], "manifest", at=file).signers(keys)
    by = {"owner": held[min(held)].owner, "keyid": min(held), "role": "release"}
    return {**by, "manifest": verdict.manifest_digest}


def _resumed_by(verdict: PackVerdict | FacadeVerdict, statements: Sequence[Signed]) -> list[Signed]:
    """Give the newest of the resumes that an entry refers to."""
    said = [each for each in statements if each.statement.decision == "resume"]
    return [
        each
        for each in said
        if each.statement.subject == verdict.digest and each.digest in verdict.statements
    ][-1:]


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


def mark_to_json(mark: Mark) -> JsonObject:
    """Give the form in which a home keeps its mark."""
    stops = sorted([each.statement, each.subject, each.decision] for each in mark.stops)
    return {**attrs.asdict(mark, recurse=False), "stops": stops, "denied": sorted(mark.denied)}


def mark_from_json(x: Json) -> Mark:
    """Read a mark.

    :raises TrustError: ``trust.mark``
    """
    try:
        stops = frozenset(Stop(*each) for each in x["stops"])
        mark = Mark(**{**x, "stops": stops, "denied": frozenset(x["denied"])})
        numbers = {type(each) for each in (mark.root_version, mark.version, mark.seen_at)}
        if mark_to_json(mark) == x and numbers == {int}:
            return mark
    except (KeyError, TypeError, ValueError):
        pass
    raise TrustError("trust.mark", why="it is not in its form")
