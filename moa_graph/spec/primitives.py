"""What the literature does with proposals: who sees which, which go on, and when it is enough."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from moa_graph.spec.extracting import Extract
from moa_graph.spec.fields import LIST, MAPPING, WORD, Name, Strict, Text, shape_of

__all__ = ["ReferencesSpec", "ResidualSpec", "SelectSpec", "SourceSpec", "StopSpec"]


def _by_shape(example: Any) -> Any:
    return Discriminator(shape_of, custom_error_type="shape", custom_error_message=example)


See = Annotated[
    Annotated[Literal["all", "own"], Tag(WORD)]
    | Annotated[list[list[Name]], Tag(LIST)]
    | Annotated[dict[Name, list[Name]], Tag(MAPPING)],
    _by_shape("all, own, a list of groups such as [[a, b], [c, d]], or a mapping such as {a: [b, c]}"),
]
"""Who sees whom: a word, groups whose members see each other, or the ids that a proposer sees."""


class SourceSpec(Strict):
    """Name an earlier layer, and who sees which of its proposals."""

    layer: Name = Field(description="An earlier layer.")
    see: See | None = Field(default=None, description="Overrides the `see` of the references.")
    self_: bool | None = Field(
        default=None, alias="self", description="Overrides the `self` of the references."
    )


From = Annotated[
    Annotated[Literal["previous", "all", "own", "none"], Tag(WORD)]
    | Annotated[
        list[
            Annotated[
                Annotated[Name, Tag(WORD)] | Annotated[SourceSpec, Tag(MAPPING)],
                _by_shape("the name of a layer, or a mapping such as {layer: draft, see: own}"),
            ]
        ],
        Field(min_length=1),
        Tag(LIST),
    ],
    _by_shape("previous, all, own, none, or a list of earlier layers such as [draft]"),
]


class ReferencesSpec(Strict):
    """Say which earlier proposals enter a prompt, and how.

    `placement: system` is the paper's protocol; `user` puts them into one trailing user block.
    """

    from_: From = Field(
        default="previous",
        alias="from",
        description="Which proposals: of the previous layer, of all, one's own, none, or of these layers.",
    )
    see: See = Field(
        default="all",
        description="Who sees whom: all, own, groups such as [[a, b], [c]], or lists such as {a: [b]}.",
    )
    self_: bool = Field(default=True, alias="self", description="Whether a proposer sees its own.")
    placement: Literal["system", "user"] = Field(
        default="system", description="system: the paper's protocol; user: one trailing user block."
    )
    order: Literal["listed", "shuffled"] = Field(
        default="listed",
        description="listed: the order of the spec; shuffled: by `seed`, reader and question.",
    )
    seed: int = Field(default=0, description="What `order: shuffled` depends on.")
    anonymous: bool = Field(default=True, description="false: each reference says who wrote it.")
    max_chars: int | None = Field(default=None, ge=1, description="Longest reference; the rest is cut off.")
    payload: Literal["answer", "summary"] = Field(
        default="answer", description="The proposals themselves, or a summary of each by `summarizer`."
    )
    summarizer: Name | None = Field(default=None, description="A slot: who writes the summaries.")
    instruction: Text | None = Field(
        default=None, description="Stands in the place of the Aggregate-and-Synthesize instruction."
    )

    @property
    def sources(self) -> list[SourceSpec] | None:
        """Return the layers that are named, None where a word says which."""
        if isinstance(self.from_, str):
            return None
        return [SourceSpec(layer=each) if isinstance(each, str) else each for each in self.from_]


class SelectSpec(Strict):
    """Say which proposals of a layer go on; the others are kept, but no later prompt shows them.

    Sources: `rank` is the LLM-Ranker of Wang et al. 2024 (arXiv 2406.04692, §3.3), `pairwise` follows
    LLM-Blender (Jiang et al. 2023, arXiv 2306.02561), `diversity` RMoA (arXiv 2505.24442), `cluster` and
    `random` the defences of Wolf et al. 2025 (arXiv 2503.05856).
    """

    by: Literal["rank", "pairwise", "diversity", "cluster", "vote", "random"] = Field(
        description="How they are chosen."
    )
    keep: int | None = Field(default=None, ge=1, description="How many; cluster and vote: at most so many.")
    model: Name | None = Field(default=None, description="A slot: who ranks or compares.")
    instruction: Text | None = Field(
        default=None, description="What rank and pairwise are asked; see the guide."
    )
    extract: Extract | None = Field(default=None, description="How vote reads an answer.")
    embeddings: Name | None = Field(
        default=None, description="Embeddings that the host program registers; default: TF-IDF."
    )
    seed: int = Field(default=0, description="What random depends on, beside the question.")
    on_error: Literal["keep_all", "keep_first", "fail"] = Field(
        default="keep_all", description="When a reply cannot be read, or a call fails."
    )


class StopSpec(Strict):
    """Say when the layers that are left are not needed; the aggregator comes next then.

    `agreement` is looked at while proposals arrive, the others after each layer.
    """

    by: Literal["agreement", "no_change", "similarity", "residual", "judge"] = Field(
        description="What is enough."
    )
    agree: int | None = Field(default=None, ge=2, description="agreement: equal answers in one layer.")
    layers: int = Field(
        default=1, ge=1, description="no_change, residual: layers in a row that change nothing."
    )
    threshold: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="similarity: to the layer before, 0 to 1."
    )
    model: Name | None = Field(default=None, description="judge: a slot.")
    instruction: Text | None = Field(default=None, description="What the judge is asked; see the guide.")
    extract: Extract | None = Field(default=None, description="agreement, no_change: how an answer is read.")
    min_layers: int = Field(default=1, ge=1, description="Layers that run in any case.")
    max_layers: int | None = Field(default=None, ge=1, description="Layers after which it is over.")


class ResidualSpec(Strict):
    """Say who writes down what a layer changed; the next step sees it beside the references (RMoA)."""

    model: Name = Field(description="A slot: who compares the layer with the one before.")
    instruction: Text | None = Field(default=None, description="What it is asked; see the guide.")
