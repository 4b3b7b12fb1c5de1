"""JSON Schema 2020-12: what a capability takes and gives, checked before and after.

Rules:

- A schema is compiled once.  What is wrong with it is an error then: against the metaschema, an
  unknown format, a ``$ref`` to anything that is not in hand, a default that does not fit.
- Formats are asserted.  Defaults are applied into a copy, through ``properties``, ``items``,
  ``$ref`` and ``allOf``; the argument is never changed.
- `jsonschema` gives every verdict "no".  A closure of ours may say "yes" earlier, and is bound by
  law never to say it where `jsonschema` would not (ADR 0002).
- Nothing is ever fetched.  Patterns are read as ECMA-262 has them: ``$`` is the end of the text and
  not also before a last line feed.
- An error names pointer, keyword, what the schema expects and the *type* found: never a value.

It does not know what a workspace may contain; `workspace-path` is a rule about spelling only.
"""

from awe_core.contract.formats import FORMATS
from awe_core.contract.reading import Mark
from awe_core.contract.schema import Schema, schema_flaw

__all__ = ["FORMATS", "Mark", "Schema", "schema_flaw"]
