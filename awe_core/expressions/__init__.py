"""``${…}``: JMESPath over named roots, compiled once, evaluated often.

Rules:

- A string that is one whole ``${…}`` keeps the type of its result.  Inside a longer string a
  result is rendered: strings as they are, everything else as compact JSON with sorted keys.
  ``$${`` writes a literal ``${``.  Keys of objects are never templates.
- What an expression can reach is known before it runs: every use of a root is one of its
  `references`.  The roots as a whole (``@`` or ``*`` at the top) cannot be taken.
- What can be wrong before the run is: unknown roots and functions, wrong numbers of arguments,
  text in backticks that is not JSON.
- Hostile text costs little: 4 KiB, 64 levels, and growth by a factor of at most 1,024 over what is
  put in.  A message shows the expression and never a value.

It knows no workflow and no schema; type flow reads `Expression.ast`.
"""

from awe_core.expressions.syntax import Reference
from awe_core.expressions.template import Expression, Placed, Template, truthy

__all__ = ["Expression", "Placed", "Reference", "Template", "truthy"]
