"""What the spec knows of models agrees with what builds them."""

from langchain.chat_models.base import _BUILTIN_PROVIDERS

from moa_graph.models.embedded import ExtractiveChatModel
from moa_graph.models.ranking import RANKERS
from moa_graph.spec.providers import _KNOWN_PROVIDERS, ExtractiveParams


def test_every_provider_of_langchain_is_known():
    assert set(_BUILTIN_PROVIDERS) <= _KNOWN_PROVIDERS


def test_the_params_are_those_of_the_embedded_model():
    fields = ExtractiveParams.model_fields
    assert set(fields) < set(ExtractiveChatModel.model_fields)
    model = ExtractiveChatModel()
    assert ExtractiveParams().model_dump() == {name: getattr(model, name) for name in fields}


def test_every_ranker_can_be_asked_for():
    assert [ExtractiveParams(ranker=ranker).ranker for ranker in RANKERS] == list(RANKERS)
