"""A choice is read where a text decides for it: not where it is denied, or one of two."""

import pytest

from moa_graph.selecting.choices import read_choice
from moa_graph.spec.extracting import LETTERS

DECIDED = {
    "(A) is wrong, so (B)": "B",
    "(A) is wrong, so (B).": "B",
    "The answer is not A but B": "B",
    "The answer is not (A), it is (B)": "B",
    "Option A is wrong; option C fails too. Thus D.": "D",
    "The best answer is I think B": "B",
    "The best answer is: I believe (B)": "B",
    "The answer is b": "B",
    "b)": "B",
    "B) because A is wrong": "B",
    "It must be **C**": "C",
    "A. Paris": "A",
    "The correct answer is A. Paris, not B.": "A",
    "So E=mc^2 is right, i.e. (c)": "C",
    "\\boxed{\\text{B}}": "B",
    "\\boxed{\\mathbf{(C)}}": "C",
    "Between A and B, I choose B": "B",
    "I": "I",
    "Answer: I": "I",
    "The answer is (I).": "I",
    "The answer is I.": "I",
    "Best choice: D": "D",
    "Correct option is (D).": "D",
    "The right answer isn't B; it's D": "D",
    "Final answer: (C)\n\nWhy not A? Because...": "C",
    "Answer: C\n\n(A) is wrong because..\n(B) is wrong": "C",
    "Therefore the answer is A) 5, since B) is 6": "A",
    "The answer is option C, not A.": "C",
    "The answer is A because it fits.": "A",
    "The answer is A.": "A",
    "The answer is B, since A is wrong.": "B",
    "The answer is (A) and not (B).": "A",
    "The answer is B as C is wrong": "B",
    "Answer: **(D)** is right": "D",
    "So the answer is C, I think": "C",
    "(B) is incorrect.\n(C) is correct.": "C",
    "Ruling out (A), only (B) is left.": "B",
    "The answer cannot be A. The answer is C.": "C",
    "I would go with C": "C",
    "Answer: A, the first": "A",
    "A is correct. B is wrong.": "A",
    "D is the right answer.": "D",
    "(A) Paris, (B) Rome. I pick (B).": "B",
    "A) 5 is too small. B) 7 fits, so B.": "B",
    "A. Paris is not it. I go with B.": "B",
    "B. A man walks": "B",
}

UNDECIDED = [
    "I think it's a tough call",
    "The answer: C and D",
    "The answer is A or B",
    "The answer is not listed",
    "The answer is A, B, C or D? I say D.",
    "Answer: A man",
    "So A man walks in.",
]

YES_OR_NO = {
    "The answer is no.": "no",
    "No, the answer is yes.": "yes",
    "yes and no": None,
    "The answer is not no but yes": "yes",
    "No doubt: yes": "yes",
    "There is no evidence that it is not true": None,
    "no\nyes?": "yes",
    "There is no evidence": None,
    "The answer is no because it rains": "no",
    "No.": "no",
    "Answer: No, it does not.": "no",
    "The answer is 'No'": "no",
    "Yes, there is no doubt.": "yes",
    "The answer is not yes": None,
}

TRUE_OR_FALSE = {
    "It is not true": None,
    "The answer is: not true": None,
    "False": "false",
    "The statement is true.": "true",
    "It isn't false": None,
    "True because it holds": "true",
}

SMALL_LETTERS = {
    "The answer is (b)": "b",
    "a": "a",
    "The answer is a. ": "a",
    "This is a test": None,
    "(B)": "b",
}


@pytest.mark.parametrize(("text", "choice"), DECIDED.items())
def test_the_letter_that_a_text_decides_for_is_read(text, choice):
    assert read_choice(text, LETTERS) == choice


@pytest.mark.parametrize("text", UNDECIDED)
def test_a_text_that_does_not_decide_abstains(text):
    assert read_choice(text, LETTERS) is None


@pytest.mark.parametrize(("text", "choice"), YES_OR_NO.items())
def test_yes_and_no_are_read_where_they_are_meant(text, choice):
    assert read_choice(text, ["yes", "no"]) == choice


@pytest.mark.parametrize(("text", "choice"), TRUE_OR_FALSE.items())
def test_what_is_denied_is_not_chosen(text, choice):
    assert read_choice(text, ["true", "false"]) == choice


@pytest.mark.parametrize(("text", "choice"), SMALL_LETTERS.items())
def test_choices_may_be_small_letters(text, choice):
    assert read_choice(text, ["a", "b", "c", "d"]) == choice
