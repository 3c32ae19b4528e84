"""A PDF of a few lines, and specs of retrievers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moa_graph.spec.schema import MoASpec
from moa_graph.spec.slots import RetrieverSpec

FILES = Path(__file__).parent / "files"


def pdf(*pages: str) -> bytes:
    """Write a PDF with one line of text a page; an empty string gives a page without text."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        drawing = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects += [
            (
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
                f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>"
            ),
            f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        ]
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}"
    end += f"trailer\n<< /Size {len(places) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + end.encode()


def retriever(*files: str | Path, **values: Any) -> RetrieverSpec:
    return RetrieverSpec(**{"retriever": "bm25", "files": [str(file) for file in files], **values})


def spec(**retrievers: RetrieverSpec) -> MoASpec:
    """Build a spec with these retrievers, whether or not anybody in it uses them."""
    document = {
        "moa": 1,
        "name": "retrieving",
        "models": {"m": {"model": "embedded:extractive"}},
        "aggregator": {"model": "m"},
        "layers": [],
    }
    return MoASpec.model_validate(document).model_copy(update={"retrievers": retrievers})
