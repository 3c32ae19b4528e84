from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import ValidationError

from moa_graph.models.embedded import NOTHING_FOUND, ExtractiveChatModel, answer_message, stream_words
from moa_graph.models.sentences import split_sentences
from moa_graph.prompts import AGGREGATE_AND_SYNTHESIZE, compose
from moa_graph.state import Reference
from moa_graph.usage import estimate_tokens

DOCUMENT = """# Honey bees

A honey bee colony has one queen. Worker bees collect nectar from flowers.
The queen lays up to 2,000 eggs a day. Drones mate with queens and do no work.

## Wax

Workers make wax with eight glands. Beeswax melts at about 63 degrees."""


def ask(question: str, document: str = DOCUMENT, **params: Any) -> str:
    return str(ExtractiveChatModel(**params).invoke([HumanMessage(f"{document}\n\n{question}")]).text)


def references(*texts: str) -> list[Reference]:
    return [{"id": f"draft/{number}", "text": text} for number, text in enumerate(texts)]


@pytest.mark.parametrize("ranker", ["bm25", "tfidf", "textrank"])
def test_the_answer_is_drawn_from_the_document(ranker: str) -> None:
    answer = ask("How many eggs does the queen lay in a day?", ranker=ranker, sentences=1)
    assert answer == "The queen lays up to 2,000 eggs a day."


def test_a_heading_helps_to_find_the_sentences_under_it() -> None:
    assert "eight glands" in ask("Tell me about wax.", sentences=2)


def test_sentences_come_in_the_order_of_the_document() -> None:
    answer = ask("Which bees are workers, and which queens and drones?", sentences=3, diversity=0)
    places = [DOCUMENT.replace("\n", " ").find(sentence.strip(". ")) for sentence in answer.split(". ")]
    assert places == sorted(places)
    assert -1 not in places


def test_where_nothing_fits_the_answer_says_so() -> None:
    assert ask("Who discovered penicillin?") == NOTHING_FOUND
    assert ExtractiveChatModel().invoke("What is the capital of France?").text == NOTHING_FOUND
    assert ExtractiveChatModel().invoke([SystemMessage("Paris is the capital.")]).text == NOTHING_FOUND


def test_a_statement_beside_the_question_is_material_and_the_question_is_not() -> None:
    question = "Paris is the capital of France. What is the capital of France?"
    assert ExtractiveChatModel().invoke(question).text == "Paris is the capital of France."


def test_a_question_without_a_question_mark_is_not_repeated() -> None:
    answer = ask("Explain what worker bees collect from flowers.")
    assert "Explain" not in answer
    assert "nectar" in answer


def test_earlier_turns_are_material_but_system_messages_and_questions_are_not() -> None:
    conversation: list[BaseMessage] = [
        SystemMessage("Question every claim about honey."),
        HumanMessage("Is honey sweet?"),
        AIMessage("Honey keeps for years."),
        HumanMessage("How long does honey keep?"),
    ]
    assert ExtractiveChatModel().invoke(conversation).text == "Honey keeps for years."


def test_turns_after_the_question_are_material() -> None:
    conversation: list[BaseMessage] = [
        HumanMessage("How long does honey keep?"),
        AIMessage("Honey keeps for years."),
    ]
    assert ExtractiveChatModel().invoke(conversation).text == "Honey keeps for years."


def test_a_conversation_without_a_human_has_no_question() -> None:
    assert ExtractiveChatModel().invoke([AIMessage("Honey keeps for years.")]).text == NOTHING_FOUND


def test_content_blocks_are_read_and_images_left_alone() -> None:
    blocks: list[str | dict[str, Any]] = [
        {"type": "text", "text": "Honey keeps for years."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        "How long does honey keep?",
    ]
    assert ExtractiveChatModel().invoke([HumanMessage(blocks)]).text == "Honey keeps for years."


@pytest.mark.parametrize("placement", ["system", "user"])
def test_references_are_material_and_the_protocol_is_not(placement: Any) -> None:
    prompt = compose(
        [HumanMessage("Which synthesized responses are of high quality and accuracy?")],
        references("High quality responses cite their sources.", NOTHING_FOUND),
        placement=placement,
        nonce="0123456789abcdef",
    )
    answer = str(ExtractiveChatModel(sentences=10).invoke(prompt).text)
    assert answer == "High quality responses cite their sources."
    assert not any(part in answer for part in AGGREGATE_AND_SYNTHESIZE.split(". "))


def test_what_several_references_repeat_counts_more_and_comes_once() -> None:
    question = [HumanMessage("What does a bee collect?")]
    prompt = compose(
        question,
        references("A bee does collect pollen.", "A bee does collect nectar.", "A bee does collect nectar."),
    )
    assert ExtractiveChatModel(sentences=1).invoke(prompt).text == "A bee does collect nectar."
    everything = str(ExtractiveChatModel(sentences=9, diversity=0).invoke(prompt).text)
    assert everything.count("nectar") == 1


def test_list_items_stay_paragraphs_of_their_own() -> None:
    document = "You need:\n\n- Python for bees\n- a bee key"
    assert ask("What do bees need?", document, diversity=0) == "Python for bees\n\na bee key"


def test_the_next_model_reads_the_same_sentences_in_an_answer() -> None:
    document = "Bees collect nectar.\n\n- bees, honey\n\nbees make wax.\n\nBees dance."
    answer = ask("What of bees?", document, sentences=4, diversity=0)
    assert answer == "Bees collect nectar.\n\nbees, honey\n\nbees make wax. Bees dance."
    sentences = [sentence.text for sentence in split_sentences(answer)]
    assert sentences == ["Bees collect nectar.", "bees, honey", "bees make wax.", "Bees dance."]


@pytest.mark.parametrize("ranker", ["bm25", "tfidf", "textrank"])
@pytest.mark.parametrize(
    ("document", "question", "expected"),
    [
        ("蜂王每天产卵。法国的首都是巴黎。蜜蜂采蜜。", "法国的首都是哪里\uff1f", "法国的首都是巴黎。"),
        ("蜜を集めます。東京は日本の首都です。", "日本の首都はどこですか\uff1f", "東京は日本の首都です。"),
        ("蜜を集めます。東京は日本の首都です。", "日本の首都はどこですか。", "東京は日本の首都です。"),
        (
            "벌은 꿀을 모읍니다. 서울은 한국의 수도입니다.",
            "한국의 수도는 어디입니까?",
            "서울은 한국의 수도입니다.",
        ),
        ("ผึ้งเก็บน้ำหวาน\n\nกรุงเทพเป็นเมืองหลวง", "เมืองหลวงคืออะไร?", "กรุงเทพเป็นเมืองหลวง"),
        ("蜜を集めます。東京は日本の首都です。", "誰がペニシリンを発見しましたか\uff1f", NOTHING_FOUND),
    ],
)
def test_scripts_without_spaces_are_searched(
    document: str, question: str, expected: str, ranker: str
) -> None:
    assert ask(question, document, ranker=ranker, sentences=1) == expected


def test_a_full_width_question_is_not_material() -> None:
    assert ExtractiveChatModel().invoke("天は何色ですか\uff1f").text == NOTHING_FOUND
    assert ask("天は何色ですか\uff1f", "天は広いですか\uff1f天は青い。") == "天は青い。"


def test_a_text_without_a_full_stop_is_answered_with_the_fitting_pieces() -> None:
    document = "\n".join(f"entry {number} says nothing" for number in range(500)) + "\nthe queen sleeps\n"
    answer = ask("Where does the queen sleep?", document + "more of the log\n" * 500)
    assert "the queen sleeps" in answer
    assert len(answer) <= 1000
    assert answer in " ".join((document + "more of the log\n" * 500).split())


def test_no_piece_of_a_long_question_is_repeated() -> None:
    question = "where do bees, " * 200 + "sleep?"
    assert ask(question, "Bees sleep in the hive.") == "Bees sleep in the hive."


def test_tables_are_not_answered() -> None:
    document = "| eggs | queen |\n|---|---|\n| 2,000 eggs | the queen |\n\nThe queen lays eggs."
    assert ask("How many eggs does the queen lay?", document) == "The queen lays eggs."


def test_max_tokens_leaves_out_whole_sentences_of_low_rank() -> None:
    question = "How many eggs does the queen of a colony lay a day?"
    full = ask(question, diversity=0)
    short = ask(question, diversity=0, max_tokens=12)
    assert full.count(".") > 1
    assert short == "The queen lays up to 2,000 eggs a day."
    assert ask(question, diversity=0, max_tokens=1) == short, "the best sentence always stays"
    assert ask(question, diversity=0, max_tokens=500) == full


def test_bound_settings_are_tolerated() -> None:
    model = ExtractiveChatModel().bind(temperature=0.9, max_tokens=12)
    answer = model.invoke(
        [HumanMessage(f"{DOCUMENT}\n\nHow many eggs does the queen of a colony lay a day?")]
    )
    assert answer.text == "The queen lays up to 2,000 eggs a day."


def test_the_message_reports_usage_and_where_it_comes_from() -> None:
    message = ExtractiveChatModel().invoke([HumanMessage("Honey is sweet.\n\nIs honey sweet?")])
    usage = message.usage_metadata
    assert usage is not None
    assert usage["output_tokens"] == estimate_tokens("Honey is sweet.")
    assert usage["input_tokens"] == estimate_tokens("Honey is sweet.\n\nIs honey sweet?")
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_name"] == "embedded:extractive"
    assert message.response_metadata["model_provider"] == "embedded"


class Tokens(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


class AsyncTokens(Tokens, AsyncCallbackHandler):  # type: ignore[misc]
    async def on_llm_new_token(self, token: str, **_: Any) -> None:  # type: ignore[override]
        self.tokens.append(token)


async def test_streaming_gives_the_text_of_invoke_word_by_word() -> None:
    prompt = [HumanMessage(f"{DOCUMENT}\n\nWhat do queens and workers do?")]
    model, seen, seen_too = ExtractiveChatModel(), Tokens(), AsyncTokens()
    whole = await model.ainvoke(prompt)
    pieces = list(model.stream(prompt, {"callbacks": [seen]}))
    pieces_too = [piece async for piece in model.astream(prompt, {"callbacks": [seen_too]})]
    assert len(pieces) > 5
    assert "".join(str(piece.text) for piece in pieces) == whole.text
    assert "".join(seen.tokens) == "".join(seen_too.tokens) == whole.text
    total = pieces_too[0]
    for piece in pieces_too[1:]:
        total += piece
    assert total.text == whole.text
    assert total.usage_metadata == whole.usage_metadata
    assert total.response_metadata["finish_reason"] == "stop"


@given(st.text())
def test_words_join_to_the_text_again(text: str) -> None:
    chunks = stream_words(answer_message(text, [], provider="embedded", model="m"))
    assert "".join(str(chunk.message.text) for chunk in chunks) == text


VOCABULARY = "queen bees honey wax lays eggs. collect nectar! a day? Then - 2 * # the\n\n"
WORDS = st.sampled_from(VOCABULARY.split(" "))
TEXTS = st.lists(WORDS, max_size=40).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS, st.sampled_from(["bm25", "tfidf", "textrank"]))
def test_every_sentence_of_an_answer_occurs_in_the_sources(
    paragraphs: list[str], reference: str, ranker: Any
) -> None:
    question = "Which honey do bees collect a day, and how many eggs does the queen lay?"
    prompt = compose([HumanMessage("\n\n".join([*paragraphs, question]))], references(reference))
    answer = str(ExtractiveChatModel(ranker=ranker, sentences=5).invoke(prompt).text)
    sources = " ".join(" ".join([*paragraphs, reference]).split())
    if answer != NOTHING_FOUND:
        assert all(part in sources for part in re.split(r"\n\n|(?<=[.!]) ", answer))
        assert question not in answer


def test_the_same_messages_give_the_same_answer() -> None:
    answers = {ask("What do queens and workers do?", ranker="textrank") for _ in range(3)}
    assert len(answers) == 1


async def test_many_calls_at_once_agree_with_one() -> None:
    model, prompt = ExtractiveChatModel(), [HumanMessage(f"{DOCUMENT}\n\nWhat do queens do?")]
    answers = await asyncio.gather(*(model.ainvoke(prompt) for _ in range(20)))
    assert {answer.text for answer in answers} == {model.invoke(prompt).text}


@pytest.mark.parametrize("params", [{"ranker": "llm"}, {"sentences": 0}, {"diversity": 2}, {"sentence": 3}])
def test_wrong_params_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExtractiveChatModel(**params)


def test_models_that_differ_do_not_share_a_cache_entry() -> None:
    one, other = ExtractiveChatModel(), ExtractiveChatModel(sentences=1)
    assert one._identifying_params != other._identifying_params
    assert one._llm_type == "embedded-extractive"
    assert one._get_ls_params()["ls_provider"] == "embedded"
