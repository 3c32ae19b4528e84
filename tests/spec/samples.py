"""Specs for the tests: a valid one, and every valid one that Hypothesis can think of."""

from hypothesis import strategies as st

VALID = """\
moa: 1
name: test
models:
  a: {model: openai:gpt-4o}
  b: {model: "embedded:extractive"}
layers:
  - proposers: [a, b]
aggregator: {model: a}
"""

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,11}", fullmatch=True).filter(
    lambda name: not name.lower().startswith(("sk-", "aiza", "akia"))
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
DURATIONS = st.one_of(
    st.sampled_from(["30s", "500ms", "2m", "1h", "1.5s"]),
    st.floats(0.001, 604800),
    st.integers(1, 604800),
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
TEMPERATURES = st.one_of(st.none(), st.floats(0, 5))
TOKENS = st.one_of(st.none(), st.integers(1, 10**6))


def _maybe(**fields):
    return st.fixed_dictionaries({}, optional=fields)


MODELS = st.builds(
    lambda name, fields, server: {"model": name, **fields, **server},
    st.sampled_from(["openai:gpt-4o", "openai:qwen2.5:7b", "anthropic:x", "openai:a b: #c", "openai:yes"]),
    _maybe(
        temperature=TEMPERATURES,
        max_tokens=TOKENS,
        params=st.dictionaries(TEXTS.map(lambda text: "x_" + text), VALUES, max_size=3),
        price=st.fixed_dictionaries({"input": st.floats(0, 1000), "output": st.integers(0, 1000)}),
    ),
    st.sampled_from([{}, {"base_url": "http://h:1/v1", "api_key_env": "none"}, {"api_key_env": "A_KEY"}]),
)
CALLS = {"timeout": DURATIONS, "attempts": st.integers(1, 20)}
SAMPLING = {"temperature": st.floats(0, 5), "max_tokens": st.integers(1, 10**6), "system": TEXTS.filter(bool)}
REFERENCES = _maybe(placement=st.sampled_from(["system", "user"]))


@st.composite
def valid_data(draw):
    """Draw the data of a valid spec."""
    models = draw(st.dictionaries(NAMES, MODELS, min_size=1, max_size=3))
    slots = st.sampled_from(sorted(models))

    def layer(number):
        proposers = draw(st.lists(st.one_of(st.none(), _maybe(**SAMPLING, **CALLS)), min_size=1, max_size=3))
        entries = []
        for index, fields in enumerate(proposers):
            if fields is None and index == 0:
                entries.append(draw(slots))
            else:
                samples = draw(st.integers(1, 3))
                entries.append(
                    {"model": draw(slots), "id": f"p_{index}x", "samples": samples, **(fields or {})}
                )
        fields = draw(_maybe(**CALLS, grace=DURATIONS, deadline=DURATIONS, name=st.just(f"n{number}")))
        if number:
            fields["references"] = draw(REFERENCES)
        return {"proposers": entries, "quorum": draw(st.integers(1, len(entries))), **fields}

    return {
        "moa": 1,
        "name": draw(NAMES),
        "description": draw(TEXTS),
        "models": models,
        "defaults": draw(_maybe(**CALLS)),
        "limits": draw(
            _maybe(deadline=DURATIONS, max_calls=st.integers(50, 99), max_concurrency=st.integers(1, 9))
        ),
        "layers": [layer(number) for number in range(draw(st.integers(0, 3)))],
        "aggregator": {
            "model": draw(slots),
            "references": draw(REFERENCES),
            **draw(_maybe(**SAMPLING, **CALLS)),
        },
    }
