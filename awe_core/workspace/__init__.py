"""The workspace: the one folder effects reach, confined and undoable (design: file effects).

- `paths`: what a path may look like · `patterns`: the one matcher · `protection`: what stays
- `confined`: opening files strictly below the root, over `syscalls`
- `images`: what is there (entries, pre-images, tree digests) · `store`: slots of the undo store
- `staged`: effects in stages · `moves`: the renames they and undo are made of
- `workspace`: the door · `overlay`: the same, where nothing happens to the files

It performs nothing by itself: the broker above decides, records, and then acts through it.
"""

from awe_core.workspace.images import Image
from awe_core.workspace.overlay import Overlay
from awe_core.workspace.patterns import Literal, Pattern
from awe_core.workspace.staged import Staged
from awe_core.workspace.workspace import Workspace, WriteMode

__all__ = ["Image", "Literal", "Overlay", "Pattern", "Staged", "Workspace", "WriteMode"]
