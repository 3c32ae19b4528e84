"""Let the user write a text in an editor of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from moa_graph.errors import MoAError

__all__ = ["write_in_editor"]


def write_in_editor(text: str) -> tuple[str, Path]:
    """Open a text in $VISUAL or $EDITOR; return it as it was left, and the file that holds it.

    The caller takes the file away. Raises MoAError where there is no editor, or it fails.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise MoAError("there is no editor", hint="Set EDITOR, or give the text by --text or --file.")
    handle, name = tempfile.mkstemp(suffix=".md")
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    path = Path(name)
    try:
        subprocess.run([*shlex.split(editor), name], check=True)  # noqa: S603 -- the user's own choice
        written = path.read_text(encoding="utf-8")
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise MoAError(
            f"the editor {editor!r} failed: {error}", hint=f"What you wrote, if anything, is in {name}."
        ) from error
    # Editors end the last line; what was there had perhaps no such end.
    return written if text.endswith("\n") else written.removesuffix("\n"), path
