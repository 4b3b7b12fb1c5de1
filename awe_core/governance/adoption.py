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
from awe_core.records import FacadeRecord
from awe_core.trust import (
    FacadeVerdict,
    Mark,
    Stop,
    manifest_file,
    missing,
    parse_envelope,
    root_file,
    signers,
    walk,
)

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
_VERBS = {
    State.ACTIVE: "activated",
    State.DEPRECATED: "deprecated",
    State.SUSPENDED: "suspended",
    State.SUPERSEDED: "superseded",
    State.REVOKED: "revoked",
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
            cause = event["cause"]
            phase = cause if cause in {"valid", "grace", "expired"} else "valid"
            return attrs.evolve(self, manifest=event["to"], phase=phase)
        if not kind.startswith(("pack.", "facade.")):
            return self
        statement = event.get("statement")
        return attrs.evolve(
            self,
            statements=self.statements | ({statement} if statement else set()),
            states={**self.states, event["subject"]["record"]: State(event["to"])},
        )


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
    return tuple(_events(verdict, store, adopted, pin))


def _events(
    verdict: Verdict, store: StoreBytes, adopted: Adopted, pin: Digest
) -> Iterator[JsonObject]:
    chain = walk(store, pin=pin, deployment=verdict.root.deployment)
    statements = read_statements(store, chain)
    yield from _root(verdict, store, adopted)
    for event in _stated(verdict, read_subjects(store), adopted, statements):
        adopted = adopted.evolve(event)
        yield event
    yield from _manifest(verdict, adopted)
    yield from _transitions(verdict, store, adopted, statements)


def _root(verdict: Verdict, store: StoreBytes, adopted: Adopted) -> Iterator[JsonObject]:
    to: JsonObject = {"version": verdict.root.version, "digest": verdict.root_digest}
    if to == adopted.root:
        return
    file = root_file(verdict.root.version)
    envelope = parse_envelope(store[file], "trust-root", at=file)
    keyids = sorted(signers(envelope, verdict.root.keys))
    yield _some({"kind": "trust.root_changed", "from": adopted.root, "to": to, "keyids": keyids})


def _stated(
    verdict: Verdict,
    subjects: Iterable[Subject],
    adopted: Adopted,
    statements: Sequence[Signed],
) -> Iterator[JsonObject]:
    """Give one event for each new statement; a resume takes effect by a manifest."""
    known = {each.digest: each for each in subjects}
    for n, each in enumerate(statements):
        subject = known.get(each.statement.subject)
        if each.digest in adopted.statements or subject is None:
            continue
        before = adopted.states.get(subject.digest, State.NONE)
        match each.statement.decision:
            case "approve":
                earlier = [s for s in statements[: n + 1] if s.statement.subject == subject.digest]
                after, verb = _approved(subject, before, earlier, verdict), "approved"
            case "resume":
                continue
            case decision:
                after, verb = _AFTER[decision]
        event = _event(subject, verb, before, after, by=_Decided.of(each))
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
    to: JsonObject = {
        "root_version": verdict.manifest.root_version,
        "version": verdict.manifest.version,
        "digest": verdict.manifest_digest,
    }
    is_new = to != adopted.manifest
    causes = (["issued"] if is_new else []) + (
        [verdict.phase] if verdict.phase != ("valid" if is_new else adopted.phase) else []
    )
    for cause in causes:
        yield _some(
            {
                "kind": "trust.manifest_changed",
                "cause": cause,
                "from": adopted.manifest if cause == "issued" else to,
                "to": to,
                "expires_us": verdict.manifest.expires * _MICROSECONDS,
            }
        )


def _transitions(
    verdict: Verdict, store: StoreBytes, adopted: Adopted, statements: Sequence[Signed]
) -> Iterator[JsonObject]:
    """Give one event for each record whose state the manifest has moved."""
    released = _released(verdict, store)
    for each in verdict.entries:
        after = each.own_status if isinstance(each, FacadeVerdict) else each.status
        before = adopted.states.get(each.digest, State.NONE)
        if each.refusals or before is after or released is None:
            continue
        resume = None
        if before in {State.SUSPENDED, State.SUPERSEDED} and after is State.ACTIVE:
            resume = _last_resume(each.digest, each.statements, statements)
        by = attrs.evolve(_Decided.of(resume), manifest=released.manifest) if resume else released
        verb = "resumed" if resume else _VERBS[after]
        yield _event(Subject(each.record, each.digest), verb, before, after, by=by)


@attrs.frozen(kw_only=True)
class _Decided:
    """Who brought a change about, and by what."""

    owner: str
    keyid: Digest
    role: str
    statement: Digest | None = None
    manifest: Digest | None = None
    reason: str | None = None

    @classmethod
    def of(cls, signed: Signed) -> _Decided:
        return cls(
            owner=signed.owner,
            keyid=signed.keyid,
            role=signed.statement.role,
            statement=signed.digest,
            reason=signed.statement.reason,
        )


def _released(verdict: Verdict, store: StoreBytes) -> _Decided | None:
    if verdict.manifest is None:
        return None
    file = manifest_file(*verdict.manifest.number)
    envelope = parse_envelope(store[file], "manifest", at=file)
    role = verdict.root.roles["release"]
    held = signers(envelope, {keyid: verdict.root.keys[keyid] for keyid in role.keys})
    keyid = min(held)
    owner = held[keyid].owner
    return _Decided(owner=owner, keyid=keyid, role="release", manifest=verdict.manifest_digest)


def _last_resume(
    record: Digest, justified_by: Iterable[Digest], statements: Iterable[Signed]
) -> Signed | None:
    listed = set(justified_by)
    resumes = [
        each
        for each in statements
        if each.statement.decision == "resume"
        and each.statement.subject == record
        and each.digest in listed
    ]
    return resumes[-1] if resumes else None


def _event(subject: Subject, verb: str, before: State, after: State, *, by: _Decided) -> JsonObject:
    record = subject.record
    is_facade = isinstance(record, FacadeRecord)
    return _some(
        {
            "kind": f"{'facade' if is_facade else 'pack'}.{verb}",
            "subject": {
                "facade" if is_facade else "distribution": subject.group,
                "version": record.version,
                "record": subject.digest,
            },
            "from": before.value,
            "to": after.value,
            **attrs.asdict(by),
        }
    )


def _some(event: JsonObject) -> JsonObject:
    """Leave out what has no value."""
    return {name: value for name, value in event.items() if value is not None}


def mark_to_json(mark: Mark) -> JsonObject:
    """Give the form in which a home keeps its mark."""
    stops = sorted(mark.stops, key=lambda each: each.statement)
    return {
        "pin": mark.pin,
        "root_version": mark.root_version,
        "version": mark.version,
        "digest": mark.digest,
        "seen_at": mark.seen_at,
        "stops": [[each.statement, each.subject, each.decision] for each in stops],
        "denied": sorted(mark.denied),
    }


def mark_from_json(x: Json) -> Mark:
    """Read a mark.

    :raises TrustError: ``trust.mark``
    """
    try:
        mark = Mark(
            **{name: x[name] for name in ("pin", "root_version", "version", "digest", "seen_at")},
            stops=frozenset(Stop(*each) for each in x["stops"]),
            denied=frozenset(x["denied"]),
        )
        is_sound = mark_to_json(mark) == x and all(
            type(number) is int for number in (mark.root_version, mark.version, mark.seen_at)
        )
    except (KeyError, TypeError, ValueError):
        raise TrustError("trust.mark", why="it is not in its form") from None
    if not is_sound:
        raise TrustError("trust.mark", why="it is not in its form")
    return mark
