"""`bm25`: a retriever over local files that ranks their passages by the words they share with a question."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from moa_graph.errors import ModelNotReady
from moa_graph.models.sentences import terms
from moa_graph.retrieval.extra import extra
from moa_graph.retrieval.files import chunks, load
from moa_graph.spec.slots import RetrieverSpec

__all__ = ["WordRetriever", "build_bm25"]

_MOST_TERMS = 50
"""A question with more words than this is a document of its own: its most telling words will do."""


class WordRetriever(BaseRetriever):
    """Return the `k` best passages of `index` (a `BM25Retriever` of langchain-community), best first.

    Unlike that, it gives only passages that share a word with the question; ties go to the earlier one.
    """

    index: Any
    k: int = 4

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - part of LangChain's signature
    ) -> list[Document]:
        idf = self.index.vectorizer.idf
        asked = sorted({term for term in terms(query) if term in idf}, key=lambda term: (-idf[term], term))
        scores = [float(score) for score in self.index.vectorizer.get_scores(asked[:_MOST_TERMS])]
        fit = [place for place, score in enumerate(scores) if score > 0]
        return [self.index.docs[place] for place in sorted(fit, key=lambda place: -scores[place])[: self.k]]


def build_bm25(spec: RetrieverSpec) -> WordRetriever:
    """Read the files of a spec and index their passages.

    Raises ModelNotReady with one line for each package that is missing, each pattern without a file and
    each file without text.
    """
    with extra():
        from langchain_community.retrievers import BM25Retriever  # noqa: PLC0415 - of the extra

        importlib.import_module("rank_bm25")  # which that one imports when it is used
    documents, problems = load(spec.files)
    if problems:
        raise ModelNotReady("\n".join(problems))
    passages = [passage for passage in chunks(documents, spec.chunk_chars) if terms(passage.page_content)]
    if not passages:
        raise ModelNotReady("the files have no words to search for.")
    index = BM25Retriever.from_documents(passages, preprocess_func=terms)
    index.vectorizer.idf = _idf(index.vectorizer)
    return WordRetriever(index=index, k=spec.k)


def _idf(vectorizer: Any) -> dict[str, float]:
    """Weigh every word as Lucene does: Okapi's weight is 0 or below for a word of half the passages."""
    counts = Counter(term for bag in vectorizer.doc_freqs for term in bag)
    total = len(vectorizer.doc_freqs)
    return {term: math.log(1 + (total - count + 0.5) / (count + 0.5)) for term, count in counts.items()}
