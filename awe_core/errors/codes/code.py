"""The shape of one entry of the catalogue."""

import attrs


@attrs.frozen
class Code:
    """What one error code means to the person who meets it."""

    exit_code: int  #: 1 to 9, by the CLI's table
    says: str  #: what was refused or failed, on which object; no full stop
    next: str = ""  #: the next command or edit, imperative; empty only where there is none
    state: str = ""  #: what is the case now: "nothing was imported"
