from __future__ import annotations

import math

import pytest

from moa_graph.errors import MoAError
from moa_graph.selecting.likeness import bag_of, between, of_vectors, similarities, weights

TEXTS = [
    "A quorum is the number of proposals that a layer needs.",
    "The quorum says how many proposals a layer needs.",
    "Bananas are yellow and sweet.",
]


def test_texts_on_the_same_subject_are_more_alike_than_others() -> None:
    table = similarities(TEXTS)
    assert table[0][1] > 0.3 > table[0][2] == table[1][2] == 0


def test_the_table_is_symmetric_with_a_diagonal_of_one() -> None:
    table = similarities([*TEXTS, "", "quorum layer"])
    assert [row[index] for index, row in enumerate(table)] == [1.0] * 5
    assert all(table[row][column] == table[column][row] for row in range(5) for column in range(5))
    assert all(0 <= value <= 1 for row in table for value in row)


def test_similarity_is_the_cosine_of_smooth_tf_idf() -> None:
    # Both have "quorum" (weight 1), each has one term of its own (weight 1 + ln(3/2)).
    own = 1 + math.log(3 / 2)
    assert similarities(["quorum alpha", "quorum beta"])[0][1] == pytest.approx(1 / (1 + own**2))


def test_what_all_say_still_counts_as_common() -> None:
    assert similarities(["quorum layer alpha", "quorum layer beta"] * 3)[0][1] > 0.4


def test_repeating_a_term_is_damped() -> None:
    assert weights([{"quorum": 8.0}])[0]["quorum"] == pytest.approx(1 + math.log(8))


def test_equal_texts_are_alike_even_blank_ones() -> None:
    assert similarities(["", "", " ", "!!!", "!!!"])[0] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert similarities(["!!!", "!!!"])[0][1] == 1.0
    assert similarities([TEXTS[0], TEXTS[0]])[0][1] == 1.0


def test_texts_without_telling_words_are_compared_by_their_words() -> None:
    table = similarities(["A", "a", "B", "it is"])
    assert table[0][1] == pytest.approx(1.0)
    assert table[0][2] == table[0][3] == 0


def test_scripts_without_spaces_are_compared_by_pairs_of_characters() -> None:
    table = similarities(["法国的首都是巴黎。", "巴黎是法国的首都。", "蜜蜂采集花蜜。"])
    assert table[0][1] > 0.3 > table[0][2] == 0


def test_no_texts_give_an_empty_table() -> None:
    assert similarities([]) == []
    assert of_vectors([]) == []
    assert similarities(["one"]) == [[1.0]]


def test_a_bag_counts_its_terms() -> None:
    assert bag_of("Layers and layers of quorum") == {"layer": 2, "quorum": 1}


def test_vectors_are_compared_by_their_direction() -> None:
    table = of_vectors([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    assert table[0] == [1.0, 1.0, 0.0, -1.0]


def test_vectors_of_any_size_are_compared() -> None:
    table = of_vectors([[1e300, 1e300], [1e-300, 1e-300], [0.0, 0.0]])
    assert table[0][1] == pytest.approx(1.0)
    assert table[2] == [0.0, 0.0, 1.0]


def test_rounding_does_not_take_a_cosine_beyond_one() -> None:
    vectors = [[0.1 * number, 0.7, 0.3] for number in (1, 1, 1)]
    assert all(value <= 1 for row in of_vectors(vectors) for value in row)


def test_vectors_of_unequal_length_are_refused() -> None:
    with pytest.raises(MoAError, match="different lengths"):
        of_vectors([[1.0], [1.0, 2.0]])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_vectors_with_numbers_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(MoAError, match="not finite"):
        of_vectors([[1.0], [number]])


def test_texts_are_as_like_others_as_the_whole_table_has_it() -> None:
    table, some, others = similarities([*TEXTS, ""]), TEXTS[:2], [TEXTS[2], ""]
    for row, known in zip(between(some, others), table, strict=False):
        assert row == pytest.approx(known[2:])
    assert between([], TEXTS) == []
    assert between([TEXTS[0], ""], [TEXTS[0], "", TEXTS[2]]) == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
