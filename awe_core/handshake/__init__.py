"""The handshake (Aegis): may this exact call happen now?

Between "the input is valid" and "the handler may act".  It fails closed: a policy that raises or is
missing denies, nobody with an opinion means that a person is asked, and an approval covers one
exact call, once.  Policies are judged here (`chain`), folded (`fold`), votes are counted (`votes`),
what is open and what was granted is kept (`ledger`); who waits and who acts is the engine's affair.
"""

from awe_core.handshake.chain import PolicyChain
from awe_core.handshake.fold import AskPeople, Grant, Judged, Refuse, default_requirement, fold
from awe_core.handshake.ledger import Ledger, Ticket, new_request_id, ticket_of
from awe_core.handshake.policies import Allowed, AllowList, Auto, Console, DenyAll
from awe_core.handshake.question import call_digest, summary
from awe_core.handshake.votes import Counted, Granted, People, Refused, take, unmet

__all__ = [
    "AllowList",
    "Allowed",
    "AskPeople",
    "Auto",
    "Console",
    "Counted",
    "DenyAll",
    "Grant",
    "Granted",
    "Judged",
    "Ledger",
    "People",
    "PolicyChain",
    "Refuse",
    "Refused",
    "Ticket",
    "call_digest",
    "default_requirement",
    "fold",
    "new_request_id",
    "summary",
    "take",
    "ticket_of",
    "unmet",
]
