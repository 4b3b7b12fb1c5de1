"""Codes of the area: channels."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

CHANNELS: Mapping[str, Code] = {}
