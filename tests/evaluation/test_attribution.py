from __future__ import annotations

import json
import sys
import time

import pytest

from moa_graph.errors import ModelNotReady
from moa_graph.evaluation.attribution import LABELS, Attribution, SentenceOrigin, attribute, similarity_of

PROPOSALS = {
    "draft/a": "A quorum is the number of proposals that a layer needs before it goes on. "
    "Deadlines end layers.",
    "draft/b": "Stragglers are cancelled once the grace period is over, which saves money.",
    "draft/c": "It's a matter of taste. Deadlines end layers!",
}


def only(found: Attribution) -> SentenceOrigin:
    [sentence] = found.sentences
    return sentence


def test_five_tokens_in_a_row_are_verbatim() -> None:
    sentence = only(attribute("So we see: THE NUMBER of proposals, that (as said) helps.", PROPOSALS))
    assert sentence.label == "verbatim"
    [near] = sentence.near
    assert (near.proposal, near.run) == ("draft/a", "THE NUMBER of proposals, that")


def test_four_tokens_in_a_row_are_not() -> None:
    sentence = only(attribute("Nobody here counted the number of proposals yesterday in vain.", PROPOSALS))
    assert (sentence.label, sentence.near) == ("none", [])


def test_the_longest_row_is_shown_as_it_stands_in_the_answer() -> None:
    text = (
        "The grace period is over; however, stragglers are cancelled once the grace period, I think, is over."
    )
    assert only(attribute(text, PROPOSALS)).near[0].run == "stragglers are cancelled once the grace period"


def test_the_first_of_equally_long_rows_is_shown() -> None:
    text = "Once the grace period is; a layer needs before it"
    proposals = {"a": "once the grace period is. a layer needs before it"}
    assert only(attribute(text, proposals)).near[0].run == "Once the grace period is; a layer needs before it"
    proposals = {"a": "a layer needs before it, once the grace period is"}
    assert only(attribute(text, proposals)).near[0].run == "Once the grace period is"


def test_a_reworded_sentence_is_close() -> None:
    sentence = only(
        attribute("Stragglers get cancelled when the grace period ends, saving money.", PROPOSALS)
    )
    assert sentence.label == "close"
    [near] = sentence.near
    assert (near.proposal, near.run) == ("draft/b", "")
    assert 0.7 <= near.similarity < 1


def test_what_several_proposals_say_is_shared() -> None:
    sentence = only(attribute("Deadlines end layers.", PROPOSALS))
    assert sentence.label == "shared"
    assert [(near.proposal, near.similarity) for near in sentence.near] == [
        ("draft/a", 1.0),
        ("draft/c", 1.0),
    ]


def test_another_sentence_is_like_none() -> None:
    assert only(attribute("Bananas are yellow.", PROPOSALS)).label == "none"


def test_the_most_similar_proposal_comes_first() -> None:
    proposals = {"a": "We drop one two three four five in here.", "b": "one two three four five six seven"}
    sentence = only(attribute("one two three four five six seven", proposals))
    assert [near.proposal for near in sentence.near] == ["b", "a"]


def test_a_short_row_beside_a_much_longer_one_counts_for_nothing() -> None:
    words = "one two three four five six seven eight nine ten eleven"
    proposals = {
        "a": words,
        "b": "Then one two three four five, and after that something of its own entirely.",
    }
    sentence = only(attribute(words, proposals))
    assert (sentence.label, [near.proposal for near in sentence.near]) == ("verbatim", ["a"])


def test_wording_of_the_question_tells_nothing() -> None:
    question = "What is the number of proposals that a layer needs?"
    answer = "We ask for the number of proposals that a layer needs!"
    assert only(attribute(answer, PROPOSALS)).label == "verbatim"
    assert only(attribute(answer, PROPOSALS, question=question)).label == "none"
    answer = "The number of proposals that a layer needs before it goes on is three."
    assert only(attribute(answer, PROPOSALS, question=question)).label == "verbatim"


def test_every_part_of_a_markdown_answer_is_looked_at() -> None:
    answer = (
        '# Heading\n\nFirst, e.g. this. Dr. Who asks J. Smith: why? "Indeed!" Then it ends…\n'
        "- An item:\n- 另一个。再一个\n\n| a | b |\n|---|---|\n```\nx = 1\n```\n***\n"
    )
    assert [sentence.text for sentence in attribute(answer, {}).sentences] == [
        "# Heading",
        "First, e.g. this.",
        "Dr. Who asks J. Smith: why?",
        '"Indeed!',
        "Then it ends…",
        "- An item:",
        "- 另一个。",
        "再一个",
        "| a | b |",
        "x = 1",
    ]


def test_scripts_without_spaces_are_compared_sign_by_sign() -> None:
    sentence = only(
        attribute("我们知道法国的首都是巴黎。", {"a": "法国的首都是里昂。", "b": "蜜蜂采集花蜜。"})
    )
    assert (sentence.label, sentence.near[0].run) == ("verbatim", "法国的首都是")


@pytest.mark.parametrize(
    ("answer", "proposal", "run"),
    [
        ("कि की कु के को।", "का के कि कै को।", ""),  # the same letters, other vowels
        ("दिल्ली भारत की राजधानी है।", "दिल्ली भारत की राजधानी है और", "दिल्ली भारत की राजधानी है"),
        ("சென்னை தமிழ் நாட்டின் தலைநகரம் ஆகும்", "சென்னை தமிழ் நாட்டின் தலைநகரம் ஆகும்!", "சென்னை தமிழ் நாட்டின் தலைநகரம் ஆகும்"),
        (
            "Le cafe\u0301 a\u0300 l’e\u0301te\u0301 est froid",
            "le café à l'été est froid",
            "Le café à l’été est froid",
        ),
    ],
)
def test_marks_belong_to_their_letters_however_they_were_typed(answer: str, proposal: str, run: str) -> None:
    sentence = only(attribute(answer, {"a": proposal}))
    assert [near.run for near in sentence.near if near.run] == ([run] if run else [])


def test_a_mark_without_a_letter_is_no_token() -> None:
    assert attribute("\u0301 ❤\ufe0f", PROPOSALS).sentences == []
    assert similarity_of("cafe\u0301", "café") == 1.0


def test_sentences_end_with_the_marks_of_their_script() -> None:
    found = attribute("राम घर गया। सीता भी आई। هل هذا صحيح؟ نعم.", {})
    assert len(found.sentences) == 4


def test_long_texts_are_compared_in_time() -> None:
    signs = "".join(chr(0x4E00 + 7 * number * number % 997) for number in range(20_000))
    began = time.process_time()
    assert only(attribute(signs, {"a": signs, "b": signs[::-1]})).near[0].run == signs
    assert time.process_time() - began < 4


def test_apostrophes_of_both_kinds_are_the_same() -> None:
    assert only(attribute("It’s a matter of taste", PROPOSALS)).near[0].run == "It’s a matter of taste"


@pytest.mark.parametrize("answer", ["", " \n ", "***"])
def test_an_answer_without_words_has_no_sentences(answer: str) -> None:
    assert attribute(answer, PROPOSALS).sentences == []


def test_without_proposals_every_sentence_is_like_none() -> None:
    found = attribute("One. Two.", {"a": "", "b": "!"})
    assert found.counts == {"verbatim": 0, "close": 0, "shared": 0, "none": 2}
    assert tuple(found.counts) == LABELS


def test_the_record_is_json() -> None:
    record = attribute("Deadlines end layers. Bananas!", PROPOSALS).record()
    assert json.loads(json.dumps(record)) == record
    assert record["counts"] == {"verbatim": 0, "close": 0, "shared": 1, "none": 1}
    assert record["sentences"][0]["near"][0] == {"proposal": "draft/a", "similarity": 1.0, "run": ""}


def test_nothing_is_said_of_cause() -> None:
    words = json.dumps(attribute(PROPOSALS["draft/a"], PROPOSALS).record()).lower()
    assert not any(word in words for word in ("cause", "because", "copied", "source", "from"))


def test_whole_texts_are_compared_by_their_words_in_order() -> None:
    assert similarity_of("One two, three.", "one two three") == 1.0
    assert similarity_of("one two three", "three two one") == pytest.approx(1 / 3, abs=1e-4)
    assert similarity_of("one", "two") == 0.0


def test_without_the_extra_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(ModelNotReady, match=r"pip install 'moa-graph\[eval\]'"):
        attribute("One.", PROPOSALS)
