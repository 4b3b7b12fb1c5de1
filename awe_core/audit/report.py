"""What a verification found, and what it did not look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.errors import AuditError
from awe_core.journal.chain import at

if TYPE_CHECKING:
    from awe_core.values import JsonObject

Verdict = Literal["verified", "failed", "undecided"]
Form = Literal["prefix", "range", "run", "home"]

#: By the CLI's table: the check holds, a check failed, cannot decide.
EXIT_CODES: dict[Verdict, int] = {"verified": 0, "failed": 7, "undecided": 9}


@attrs.frozen
class Finding:
    """One thing that is not as it must be."""

    code: str  #: ``audit.…``
    seq: int | None  #: where to look; None when it is about the whole
    expected: str
    found: str
    where: str  #: file or home
    is_failure: bool = True  #: False for a notice

    def as_error(self) -> AuditError:
        """Give the error that says it, with what to do next."""
        seq = "the end" if self.seq is None else self.seq
        return AuditError(self.code, **at(self.where, seq, self.expected, self.found))

    def as_json(self) -> JsonObject:
        """Give the form that the CLI prints."""
        error = self.as_error()
        return {
            "code": self.code,
            "expected": self.expected,
            "failure": self.is_failure,
            "found": self.found,
            "message": error.summary,
            "next": error.hint,
            "seq": self.seq,
        }


@attrs.frozen(kw_only=True)
class Report:
    """The outcome of one verification."""

    where: str  #: file or home
    form: Form
    log: str  #: the log's id; empty when no record could be read
    origin: str  #: the log's name in its checkpoints
    first: int  #: seq of the first record
    records: int  #: how many were read
    end: int  #: seq after the last record
    signed: int  #: records that a trusted note covers
    open_runs: int  #: runs without a ``run.closed``
    keys: tuple[str, ...]  #: fingerprints of the pinned keys that signed
    claimed_key: str  #: fingerprint of the key the log claims for itself; never trust
    anchors: int  #: notes from elsewhere that were compared
    logs: int = 0  #: that hold runs of their own, named by this one and verified with it
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]  #: in plain words

    @property
    def tail(self) -> int:
        """Records behind the last signature: linked, and not signed yet."""
        return max(0, self.end - max(self.signed, self.first))

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that are not mere notices."""
        return tuple(f for f in self.findings if f.is_failure)

    @property
    def verdict(self) -> Verdict:
        """Verified, failed, or undecided: no pinned key has signed what was read."""
        if self.failures:
            return "failed"
        return "verified" if self.keys and self.signed else "undecided"

    @property
    def exit_code(self) -> int:
        """The exit code of ``awe audit verify``."""
        return EXIT_CODES[self.verdict]

    @property
    def first_bad(self) -> int | None:
        """The first seq that does not hold."""
        return min((f.seq for f in self.failures if f.seq is not None), default=None)

    def as_json(self) -> JsonObject:
        """Give the form that the CLI prints; the second verifier prints the same."""
        fields = attrs.asdict(self, recurse=False)
        return {
            **fields,
            "findings": [f.as_json() for f in self.findings],
            "first_bad": self.first_bad,
            "keys": list(self.keys),
            "not_checked": list(self.not_checked),
            "unsigned_tail": self.tail,
            "verdict": self.verdict,
        }
