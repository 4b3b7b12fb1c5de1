"""Takes people's answers to open requests and folds what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import attrs

from awe_core.engine.recovery import open_questions, unused_tickets
from awe_core.errors import HandshakeError
from awe_core.events import (
    ConfirmationRequest,
    HandshakeGranted,
    HandshakeRefused,
    HandshakeVoted,
    codec,
)
from awe_core.handshake import Counted, Granted, Refused, take, ticket_of

if TYPE_CHECKING:
    from awe_core.engine.active import ActiveRun
    from awe_core.engine.parts import Parts
    from awe_core.engine.recovery import View
    from awe_core.events import Decision


class Asking:
    """Open requests of the runs this process drives."""

    def __init__(self, parts: Parts) -> None:
        """Keep them in the ledger of *parts*."""
        self._parts = parts

    def restore(self, found: View) -> None:
        """Put back what the journal shows as open or granted and not used."""
        ledger, journal = self._parts.ledger, self._parts.journal
        for request in open_questions(journal, found):
            ledger.ask(request)
        for ticket in unused_tickets(journal, found):
            ledger.restore(ticket)

    def decide(self, active: ActiveRun, request: ConfirmationRequest, decision: Decision) -> None:
        """Count the answer and record what it means.

        :raises HandshakeError: it cannot be taken; the request stays open
        """
        ledger = self._parts.ledger
        _check_signature(request, decision)
        # When it was given is the engine's to say: a clock that the answer brings proves nothing.
        decision = attrs.evolve(decision, at_us=self._parts.clock_us())
        outcome = take(request, decision, self._parts.people)
        match outcome:
            case Counted(request=counted, missing=missing):
                active.record(
                    HandshakeVoted(
                        step=request.step,
                        req=request.id,
                        version=counted.version,
                        digest=request.digest,
                        vote=codec.to_json(counted.votes[-1]),
                        need=tuple(codec.to_json(one) for one in missing),
                    )
                )
                ledger.ask(counted)
            case Granted(request=granted):
                self._grant(active, granted)
            case Refused(vote=vote):
                active.record(
                    HandshakeRefused(
                        step=request.step,
                        digest=request.digest,
                        req=request.id,
                        version=request.version,
                        by=vote.by,
                        reason=vote.reason,
                        vote=codec.to_json(vote),
                    )
                )
                ledger.close(request.id)
            case _:
                assert_never(outcome)

    def _grant(self, active: ActiveRun, granted: ConfirmationRequest) -> None:
        now = self._parts.clock_us()
        ticket = self._parts.ledger.grant(granted, now_us=now)
        active.record(
            HandshakeGranted(
                step=granted.step,
                req=granted.id,
                version=granted.version,
                digest=granted.digest,
                votes=tuple(codec.to_json(vote) for vote in granted.votes),
                tickets=(ticket_of(ticket.nonce),),
                ticket_expires_us=ticket.expires_us,
                nonces=(ticket.nonce,),
            )
        )


def _check_signature(request: ConfirmationRequest, decision: Decision) -> None:
    """Take nobody's word for being signed: no key of the people file is compared here yet."""
    if decision.assurance == "signed":
        raise HandshakeError(
            "handshake.assurance", request=request.id, given="unproved signature", needed="session"
        )
