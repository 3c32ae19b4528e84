"""A number is read where it is stated; where several are, or a formula, the text abstains."""

import pytest

from moa_graph.selecting.answers import equal, extract, normalise
from moa_graph.selecting.numbers import last_number, whole_number
from moa_graph.selecting.stated import stated_number
from moa_graph.spec.extracting import ExtractSpec

NUMBER = ExtractSpec(by="number")

CLEAR = {
    "The answer is not 12 but 13.": "13",
    "The answer is no longer 12: it is 13": "13",
    "The answer is 5 more than 7, i.e. 12.": "12",
    "The answer is negative 5": "-5",
    "minus 5": "-5",
    "Answer: 3×10⁸": "300000000",
    "Answer: 3 1/2": "3.5",
    "Answer: 2½": "2.5",
    "Answer: ½": "0.5",
    "Answer: 1 000 000": "1000000",
    "Answer: 1'000": "1000",
    "Answer: 2 million": "2000000",
    "The answer is -5": "-5",
    "Answer: 1/2": "0.5",
    "Answer: 50%": "50",
    "Answer: ١٢٣": "123",
    "Answer: 12": "12",
    "\\boxed{\\boxed{7}}": "7",
    "\\boxed{\\text{7 apples}}": "7",
    "Answer: 5 m/s^2": "5",
    "Answer: 2 H2O": "2",
    "answer: 5°": "5",
    "Answer: $5": "5",
    "Answer: -$5": "-5",
    "Answer: ($5)": "5",
    "\\boxed{12}\n\nLet me double-check: 12*2=24.": "12",
    "**Answer:** 42\n\nNote: this is rounded to 2 decimals.": "42",
    "Final answer: 7 out of 10": "7",
    "The final answer is: $\\boxed{-\\dfrac{3}{4}}$": "-0.75",
    "Answer: − 7": "-7",
    "Answer: +7": "7",
    "Answer: .5": "0.5",
    "Answer: 5.": "5",
    "Answer: 7!": "7",
    "The answer is 42\n\n#### Explanation 3": "42",
    "The answer to question 3 is 8": "8",
    "The answer is 2 + 3 = 5 apples": "5",
    "answer: 12 (not 13)": "12",
    "The answer isn't 12, it's 13": "13",
    "The answer is approximately 3.14159265358979": "3.14159265359",
    "Answer: \\(42\\)": "42",
    "Answer:\n\n\\[\n42\n\\]": "42",
    "Answer: 1 \\frac{1}{2}": "1.5",
    "Answer: \\$1,200": "1200",
    "The answer is **\\$18**": "18",
    "Answer: 18 dollars (9 * 2)": "18",
    "Answer: 9 * 2 = 18": "18",
    "Answer: 3 / 4": "0.75",
    "The correct answer is 5; 7 is wrong.": "5",
    "Answer: 42 apples in total, bought in 3 shops": "42",
    "Answer: The total cost, including tax, is $45.": "45",
    "Answer: The 12th one is 1015": "1015",
    "Answer: a total of 45 apples for 3 people": "45",
    "The answer is 12 because 3 * 4 = 12": "12",
    "Answer: x = 5": "5",
    "Answer: f(2) = 7": "7",
    "Answer: 5 kg": "5",
    "Answer: 5kg": "5",
    "Answer: 5 m": "5",
    "Answer: 90^\\circ": "90",
    "Answer: 10 \\text{ cm}": "10",
    "Answer: 10\\%": "10",
    "Answer: \\frac{55}{6} \\approx 9.17": "9.16666666667",
    "Answer: 5\\sqrt{2} ≈ 7.07": "7.07",
    "Answer: 42 (forty-two)": "42",
    "Answer: 1/2 or 0.5": "0.5",
    "Answer: 42!": "42",
    "Answer: Yes, 12 apples.": "12",
    '{"reasoning": "1 and 2", "answer": 42, "steps": 3}': "42",
    '{"answer":7,"steps":3}': "7",
    "Answer: 15 miles per hour": "15",
    "Answer: He has 3 apples.": "3",
    "The answer is helpful. 42": "42",
    "So 42. I hope the answer is clear": "42",
    "The answer is 24 hours - a full day.": "24",
    "The answer is 5 degrees Celsius": "5",
    "Answer: Janet makes $18 every day at the farmers' market.": "18",
    "Answer: $18.00": "18",
    "The answer is: 100 meters^2.": "100",
    "Answer: 2015_6": "2015",
    "Answer: 17th": "17",
    "Answer: \\( \\frac{1}{2} \\)": "0.5",
    "#### 42": "42",
    "#### $1,200": "1200",
    "Answer: $x$ is $5$.": "5",
    "The answer is 3 boxes, each with 4 apples": "3",
    "Answer: 7 and not 8": "7",
    "Answer: \\$3.50 per pound": "3.5",
    "The answer is $\\boxed{42}$. I hope it is correct.": "42",
    "Answer: 12 - that is the sum.": "12",
}

UNCLEAR = [
    "The answer is 3,14 (Euro)",
    "1.234,56 €",
    "Die Antwort ist 3,14",
    "Answer: 2**10",
    "Answer: 9*2",
    "\\boxed{3\\sqrt{2}}",
    "\\boxed{(3, 4)}",
    "Answer: (3, 4)",
    "Answer: 0.(3)",
    "Answer: \\frac{x}{2}",
    "The answer is 10–20",
    "Answer: 12/25/2023",
    "Answer: 3:45 pm",
    "Answer: 0x1F",
    "The answer is $x = 3$ and $y=4$",
    "It is not 12.",
    "The answers are 3, 4 and 5",
    "Answer: 3,4",
    "Answer: 6-2",
    "Answer: 16 - 4",
    "Answer: 5/0",
    "Answer: about 7,5 Liter",
    "Answer: 5x",
    "Answer: \\sqrt{5}",
    "Answer: 2π",
    "Answer: 2\\pi",
    '{"answer": "3, 4"}',
    "Answer: 3 apples and 4 pears",
    "Answer: A + 1",
    "Answer: 4 i",
    "The final answer is 5 hours and 30 minutes",
]


@pytest.mark.parametrize(("text", "answer"), CLEAR.items())
def test_the_one_number_that_is_stated_is_the_answer(text, answer):
    assert extract(text, NUMBER) == answer


@pytest.mark.parametrize("text", UNCLEAR)
def test_what_is_not_one_number_abstains(text):
    assert extract(text, NUMBER) is None


@pytest.mark.parametrize(
    "power",
    [
        "9" * 46 + "^99",
        "9" * 300 + "^{-99}",
        "0." + "9" * 300 + "^99",
        "9e401",
        "1e-999",
        "3 \\times 10^{999}",
    ],
)
def test_a_power_that_is_too_big_to_write_abstains(power):
    assert extract(f"I compute. Answer: {power}", NUMBER) is None
    assert extract(power, ExtractSpec(by="last-line", equality="number")) is None
    assert extract(power, ExtractSpec(by="last-line", equality="math")) is not None
    assert not equal(power, "1", NUMBER)
    assert whole_number(power) is None


def test_the_last_number_is_not_one_that_is_denied_or_may_be_read_in_two_ways():
    assert last_number("It is 7, not 12.") == "7"
    assert last_number("It is 7 and 3,14") is None
    assert last_number("7 on 1/2/2024") == "7"
    assert last_number("0,123") is None
    assert last_number("3 5/2") is None


def test_an_answer_that_stands_alone_is_one_number_too():
    assert stated_number("3 + 4 = 7") == "7"
    assert stated_number("7 of 12") == "7"
    assert stated_number("3 or 4") is None
    assert stated_number("First 3.\nThen 4.") == "4"
    assert stated_number("Steps 1 and 2\n#### 42") == "42"
    assert normalise("12 and 13", NUMBER) is None
    assert extract("so it is 42 after 3 steps", ExtractSpec(by="last-line", equality="number")) == "42"
