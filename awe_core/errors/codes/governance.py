"""Codes of the area: governance."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

GOVERNANCE: Mapping[str, Code] = {
    # --- packs: grants ---
    "pack.hook_not_granted": Code(
        3,
        "{distribution} implements {hook}, which its record does not grant",
        next="awe packs inspect WHEEL, then propose it with that hook if it shall have it",
        state="Nothing of that module was registered.",
    ),
    "pack.hook_wrapper": Code(
        3,
        "{distribution} wraps {hook}, and nobody may stand between a policy and the core",
        next="tell the publisher of {distribution} to answer {hook} without wrapper=True",
        state="Nothing of that module was registered.",
    ),
    "pack.broken": Code(
        5,
        "{distribution} failed while {doing}: {why}",
        next="tell the publisher of {distribution}; awe packs show {distribution}",
        state="What it offers is off; the others run on.",
    ),
}
