from __future__ import annotations
import pytest
from awe_core.errors import AweError

SIMPLE = "def go(ctx, *, x=0):\n    return {'x': x}\n"
PLAIN = """\
risk: low
input: {type: object, properties: {x: {type: integer, default: 0}}}
output: {type: object, properties: {x: {type: integer}}}
"""

def test_active_runs(site, active):
    pack = active(SIMPLE, go=PLAIN)
    assert not pack.ran
    with site.open() as rt:
        print(rt.deployment.refused)
        assert rt.call(f"{pack.name}.go", x=3) == {"x": 3}
    assert pack.ran
