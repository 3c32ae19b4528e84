"""From a file, a text or a mapping to a spec; every fault of it at once, with its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moa_graph.errors import Fault, SpecError
from moa_graph.spec.document import MAX_BYTES, Document, from_data
from moa_graph.spec.nesting import Nest
from moa_graph.spec.reading import read_document
from moa_graph.spec.schema import MoASpec
from moa_graph.spec.writing import dump_spec, is_hash_of, json_schema, schema_text, spec_hash

__all__ = ["dump_spec", "is_hash_of", "json_schema", "load_spec", "parse_spec", "schema_text", "spec_hash"]


Source = MoASpec | str | os.PathLike[str] | Mapping[str, Any]
"""What a spec can be made of: the path of its file, a mapping, or itself."""


def load_spec(source: Source) -> MoASpec:
    """Load a spec from the path of a YAML file or from a mapping; one that is loaded is returned as it is.

    The files of nested specs are read from the folder of the file that names them (for a mapping, from the
    working directory) and become parts of the spec. Raises SpecError, whose `faults` are everything that is
    wrong with it: a file that cannot be read, faults of YAML, of structure, of references between the
    parts, and keys that do not belong in a spec.
    """
    if isinstance(source, MoASpec):
        return source
    if isinstance(source, Mapping):
        return _finish(from_data(source, "<spec>"), Nest())
    file = os.fspath(source)
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no usable path"
        raise SpecError([Fault(f"cannot be read: {reason}", file=repr(file)[1:-1])]) from error
    return parse_spec(content, file=file)


def parse_spec(text: str | bytes, *, file: str = "<spec>", files: bool = True) -> MoASpec:
    """Read a spec from YAML text or from any bytes; `file` is the name that faults show.

    Nested specs are read from the folder of `file` if there is such a file, else from the working
    directory; with `files=False` a spec that names any is refused, which suits text from a stranger.
    Raises SpecError as `load_spec` does, and nothing else; hostile input is refused within a second.
    """
    document = Document(file)
    read_document(document, text)
    return _finish(document, Nest(files=files))


def _finish(document: Document, nest: Nest) -> MoASpec:
    spec = nest.judge(document).spec
    faults = nest.faults()
    if spec is None or faults:
        raise SpecError(faults)
    return spec
