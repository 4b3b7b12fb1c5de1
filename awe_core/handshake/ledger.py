"""Open requests and their tickets: what has been asked, what was granted, what was used up.

A ticket is drawn by the engine when a request is granted and is consumed by exactly one
``step.started``.  The nonce leaves the engine through no channel; the log shows its hash.  All of
this can be rebuilt from the journal (50-handshake, section 3).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import HandshakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.events import ConfirmationRequest

TICKET_US = 600_000_000  #: an unused ticket lapses ten minutes after the decision


def new_request_id() -> str:
    """``hs_`` and 26 base32 characters, lower case."""
    return "hs_" + base64.b32encode(secrets.token_bytes(17))[:26].decode().lower()


def new_nonce() -> str:
    """128 random bits, hex."""
    return secrets.token_hex(16)


def ticket_of(nonce: str) -> str:
    """What the log says of a nonce: its hex SHA-256."""
    return hashlib.sha256(bytes.fromhex(nonce)).hexdigest()


@attrs.frozen
class Ticket:
    """The right to start one step once."""

    nonce: str = attrs.field(repr=False)  #: hex; shown by no channel and in no message
    request: str
    digest: str
    run: str
    step: str
    expires_us: int


@attrs.define
class Ledger:
    """Open requests by id, unused tickets by (run, step)."""

    ticket_us: int = TICKET_US  #: how long a ticket may lie unused
    _open: dict[str, ConfirmationRequest] = attrs.field(factory=dict)
    _of_run: dict[str, set[str]] = attrs.field(factory=dict)  #: ids that were open in a run
    _tickets: dict[tuple[str, str], Ticket] = attrs.field(factory=dict)

    def ask(self, request: ConfirmationRequest) -> None:
        """Remember an open request, or its next version."""
        self._open[request.id] = request
        self._of_run.setdefault(request.run, set()).add(request.id)

    def find(self, request: str) -> ConfirmationRequest:
        """Give the open request of this id or unique prefix.

        :raises HandshakeError: ``handshake.unknown``
        """
        exact = self._open.get(request)
        if exact is not None:
            return exact
        found = [r for key, r in self._open.items() if request and key.startswith(request)]
        if len(found) != 1:
            raise HandshakeError("handshake.unknown", request=request)
        return found[0]

    def of_step(self, run: str, step: str) -> ConfirmationRequest | None:
        """Give the open request of a step, if there is one."""
        found = (self._open.get(request) for request in self._of_run.get(run, ()))
        return next((one for one in found if one and one.step == step), None)

    def close(self, request: str) -> None:
        """Forget a request that was answered, expired or withdrawn."""
        self._open.pop(request, None)

    def grant(self, request: ConfirmationRequest, *, now_us: int) -> Ticket:
        """Draw the ticket of a granted request."""
        ticket = Ticket(
            nonce=new_nonce(),
            request=request.id,
            digest=request.digest,
            run=request.run,
            step=request.step,
            expires_us=now_us + self.ticket_us,
        )
        self.restore(ticket)
        self.close(request.id)
        return ticket

    def restore(self, ticket: Ticket) -> None:
        """Put back a ticket that the journal shows as granted and not used."""
        self._tickets[ticket.run, ticket.step] = ticket

    def ticket(self, run: str, step: str) -> Ticket | None:
        """Give the unused ticket of a step."""
        return self._tickets.get((run, step))

    def use(self, ticket: Ticket, *, now_us: int) -> None:
        """Consume *ticket*; it can never be used again.

        :raises HandshakeError: ``handshake.used`` ``handshake.expired``
        """
        held = self._tickets.get((ticket.run, ticket.step))
        if held != ticket:
            raise HandshakeError("handshake.used", request=ticket.request)
        del self._tickets[ticket.run, ticket.step]
        if now_us >= ticket.expires_us:
            raise HandshakeError("handshake.expired", request=ticket.request)

    def drop(self, run: str, step: str) -> None:
        """Forget an unused ticket whose step ended without it."""
        self._tickets.pop((run, step), None)

    def forget(self, run: str) -> None:
        """Forget all of *run*, which is read from the journal when it is needed again."""
        for request in self._of_run.pop(run, ()):
            self._open.pop(request, None)
        self._tickets = {key: one for key, one in self._tickets.items() if one.run != run}

    def __iter__(self) -> Iterator[ConfirmationRequest]:
        return iter(tuple(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)
