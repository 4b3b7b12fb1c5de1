"""The standard library of AWE: small, reversible capabilities that partners build on together."""

from awe_core import bind, hookimpl


@hookimpl
def awe_capabilities() -> object:
    """Offer the handlers of this pack's contracts."""
    return bind(__package__)
