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
RETRIEVERS = st.builds(
    lambda kind, fields: {**kind, **fields},
    st.one_of(
        st.fixed_dictionaries({"retriever": TEXTS.filter(bool).map(lambda name: f"host:{name}")}),
        st.fixed_dictionaries(
            {"retriever": st.just("bm25"), "files": st.lists(TEXTS.filter(bool), min_size=1, max_size=2)},
            optional={"chunk_chars": st.integers(100, 9999)},
        ),
    ),
    _maybe(
        k=st.integers(1, 100),
        max_chars=st.integers(100, 9999),
        timeout=DURATIONS,
        on_error=st.sampled_from(["fail", "continue"]),
    ),
)
TOOLS = st.lists(NAMES, min_size=1, max_size=2, unique=True)


@st.composite
def valid_data(draw, levels=3):
    """Draw the data of a valid spec with up to so many specs inside each other."""
    models = draw(st.dictionaries(NAMES, MODELS, min_size=1, max_size=3))
    slots = st.sampled_from(sorted(models))
    retrievers = draw(st.dictionaries(NAMES, RETRIEVERS, max_size=2))
    if retrievers:
        names = st.sampled_from(sorted(retrievers))
        retrieve = _maybe(retrieve=st.one_of(names, st.lists(names, unique=True)))
    else:
        retrieve = st.just({})
    shared, own = draw(retrieve), draw(retrieve)
    cited = bool(shared.get("retrieve") or own.get("retrieve"))
    citations = _maybe(citations=st.sampled_from(["none", "checked", "required"] if cited else ["none"]))

    def proposer(index):
        kinds = ["model", "agent", "runnable", *(["spec"] if levels > 1 and draw(st.booleans()) else [])]
        kind = draw(st.sampled_from(kinds))
        entry = {"id": f"p_{index}x", "samples": draw(st.integers(1, 3)), **draw(_maybe(**CALLS))}
        entry |= draw(retrieve)
        if kind == "runnable":
            price = st.fixed_dictionaries({"input": st.floats(0, 9), "output": st.floats(0, 9)})
            return {"runnable": draw(NAMES), **entry, **draw(_maybe(price=price))}
        if kind == "spec":
            return {"spec": draw(valid_data(levels=levels - 1)), **entry}
        if kind == "agent":
            entry |= {"tools": draw(TOOLS), **draw(_maybe(max_steps=st.integers(1, 100)))}
        return {"model": draw(slots), **entry, **draw(_maybe(**SAMPLING))}

    def layer(number):
        width = draw(st.integers(1, 3))
        entries = [proposer(index) for index in range(width)]
        if draw(st.booleans()):
            entries[0] = draw(slots)
        fields = draw(_maybe(**CALLS, grace=DURATIONS, deadline=DURATIONS, name=st.just(f"n{number}")))
        if number:
            fields["references"] = draw(REFERENCES)
        return {"proposers": entries, "quorum": draw(st.integers(1, len(entries))), **fields}

    return {
        "moa": 1,
        "name": draw(NAMES),
        "description": draw(TEXTS),
        "models": models,
        "retrievers": retrievers,
        **shared,
        **draw(_maybe(fan_out=st.sampled_from(["user_turn", "every_call"]))),
        "defaults": draw(_maybe(**CALLS)),
        "limits": draw(
            _maybe(deadline=DURATIONS, max_calls=st.integers(2000, 2999), max_concurrency=st.integers(1, 9))
        ),
        "layers": [layer(number) for number in range(draw(st.integers(0, 3)))],
        "aggregator": {
            "model": draw(slots),
            "references": draw(REFERENCES),
            **own,
            **draw(citations),
            **draw(_maybe(**SAMPLING, **CALLS)),
        },
    }
