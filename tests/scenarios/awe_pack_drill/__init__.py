"""Capabilities that only the scenarios need: they wait, fail, meet and die at the right moment."""

from awe_core import bind, hookimpl


@hookimpl
def awe_capabilities() -> object:
    """Offer the handlers of this pack's contracts."""
    return bind(__package__)
