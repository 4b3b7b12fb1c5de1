"""The one name for "any JSON value".  It holds types only and imports nothing of ours."""

from __future__ import annotations

from typing import Any, TypeAlias

#: None, bool, int, float, str, or lists and string-keyed dicts of these.  What is inside is checked
#: by a schema or by `canonical`, never by the type checker.
Json: TypeAlias = Any

#: A JSON object.
JsonObject: TypeAlias = dict[str, Any]
