"""Every fault of a spec is said with its line, its column, its path and a way to mend it."""

# ruff: noqa: E501  (a table reads better with one case a line)

import pytest

from moa_graph.errors import SpecError
from moa_graph.spec import load_spec, parse_spec
from tests.spec.samples import VALID


def faults_of(text):
    with pytest.raises(SpecError) as caught:
        parse_spec(text, file="s.yaml")
    return caught.value.faults


HEAD = "moa: 1\nname: t\nmodels:\n  a: {model: openai:m}\n  b: {model: embedded:extractive}\n"
TAIL = "aggregator: {model: a}\n"


def EMBEDDED(params):  # noqa: N802  (named as the other parts of the table)
    return VALID.replace('extractive"', f'extractive", params: {{{params}}}')


def RETRIEVING(retriever):  # noqa: N802  (named as the other parts of the table)
    return VALID + f"retrievers: {{r: {{{retriever}}}}}\n"


# (text, line, column, path, part of what is said)
TABLE = {
    "unknown key": (VALID + "agregator: 1\n", 9, 1, "agregator", 'did you mean "aggregator"?'),
    "unknown key of a slot": (VALID.replace("b: {", "b: {temprature: 1, "), 5, 7, "models.b.temprature", 'did you mean "temperature"?'),
    "unknown key of a price": (VALID.replace("b: {", "b: {price: {input: 1, output: 2, inputs: 1}, "), 5, 36, "models.b.price.inputs", 'did you mean "input"?'),
    "inner name of a field": (VALID.replace("{model: a}", "{model: a, references: {from_: previous}}"), 8, 37, "aggregator.references.from_", 'did you mean "from"?'),
    "missing key": ("moa: 1\nname: t\n" + VALID[VALID.index("layers"):], 1, 1, "models", '"models" is missing'),
    "missing key in a list": (HEAD + "layers:\n  - quorum: 1\n" + TAIL, 7, 5, "layers[0].proposers", '"proposers" is missing; expected who answers'),
    "version": (VALID.replace("moa: 1", "moa: 2"), 1, 6, "moa", "expected 1, its only version"),
    "version true": (VALID.replace("moa: 1", "moa: true"), 1, 6, "moa", "expected 1, its only version"),
    "version 1.0": (VALID.replace("moa: 1", "moa: 1.0"), 1, 6, "moa", "expected 1, its only version"),
    "not text": (VALID.replace("name: test", "name: 12"), 2, 7, "name", "a number stands here; expected text"),
    "null": (VALID.replace("name: test", "name:"), 2, 1, "name", "nothing (null) stands here; expected text"),
    "not a mapping": (VALID.replace("{model: a}", "[a]"), 8, 13, "aggregator", "a list stands here; expected a mapping"),
    "not a list": (VALID.replace("[a, b]", "a"), 7, 16, "layers[0].proposers", "text stands here; expected a list"),
    "layers not a list": (HEAD + "layers: {a: 1}\n" + TAIL, 6, 9, "layers", "a mapping stands here; expected a list"),
    "a layer that is text": (HEAD + "layers: [a]\n" + TAIL, 6, 10, "layers[0]", "text stands here; expected a mapping such as {proposers: [a, b]}"),
    "a slot that is text": (VALID.replace("{model: openai:gpt-4o}", "openai:gpt-4o"), 4, 6, "models.a", "text stands here; expected a mapping such as {model: openai:gpt-4o}"),
    "an aggregator that is text": (VALID.replace("{model: a}", "a"), 8, 13, "aggregator", "text stands here; expected a mapping such as {model: a}"),
    "not a number": (VALID.replace("{model: a}", "{model: a, temperature: warm}"), 8, 37, "aggregator.temperature", "expected a number"),
    "a yes is text": (VALID.replace("{model: a}", "{model: a, attempts: yes}"), 8, 34, "aggregator.attempts", "text stands here; expected a whole number"),
    "true is no number": (VALID.replace("{model: a}", "{model: a, attempts: true}"), 8, 34, "aggregator.attempts", "true or false stands here"),
    "not whole": (VALID.replace("{model: a}", "{model: a, attempts: 1.5}"), 8, 34, "aggregator.attempts", "expected a whole number"),
    "too small": (VALID.replace("{model: a}", "{model: a, attempts: 0}"), 8, 34, "aggregator.attempts", "expected at least 1"),
    "out of bounds": (VALID.replace("{model: a}", "{model: a, temperature: 9}"), 8, 37, "aggregator.temperature", "expected at most 5"),
    "not above": (VALID + "limits: {max_cost: 0}\n", 9, 20, "limits.max_cost", "expected more than 0"),
    "empty list": (VALID.replace("[a, b]", "[]"), 7, 16, "layers[0].proposers", "empty; expected at least one"),
    "empty text": (VALID.replace("{model: a}", "{model: a, system: ''}"), 8, 32, "aggregator.system", "empty; expected some text"),
    "bad name": (VALID.replace("name: test", "name: a/b"), 2, 7, "name", "not a name; expected 1 to 64"),
    "bad name of a slot": (VALID.replace("  b:", "  'b c':"), 5, 3, 'models["b c"]', "not a name; expected 1 to 64"),
    "unknown word": (VALID.replace("{model: a}", "{model: a, references: {placement: sytem}}"), 8, 48, "aggregator.references.placement", 'expected one of "system", "user" (did you mean "system"?)'),
    "duration": (VALID + "defaults: {timeout: 5 parsecs}\n", 9, 21, "defaults.timeout", "not a duration such as 30s"),
    "duration of zero": (VALID + "defaults: {timeout: 0s}\n", 9, 21, "defaults.timeout", "longer than 0"),
    "duration true": (VALID + "defaults: {timeout: true}\n", 9, 21, "defaults.timeout", "not a duration"),
    "duration too long": (VALID + "defaults: {timeout: 169h}\n", 9, 21, "defaults.timeout", "at most 7 days"),
    "model without provider": (VALID.replace("openai:gpt-4o", "gpt-4o"), 4, 14, "models.a.model", "not of the form provider:model"),
    "base_url without key name": (VALID.replace("gpt-4o", "m, base_url: 'http://h/v1'"), 4, 24, "models.a.api_key_env", "must say `api_key_env`"),
    "base_url without scheme": (VALID.replace("gpt-4o", "m, api_key_env: none, base_url: 'h/v1'"), 4, 53, "models.a.base_url", "not an address such as"),
    "base_url of another scheme": (VALID.replace("gpt-4o", "m, api_key_env: none, base_url: 'file:///x'"), 4, 53, "models.a.base_url", "not an address"),
    "base_url with a bad port": (VALID.replace("gpt-4o", "m, api_key_env: none, base_url: 'http://h:99999'"), 4, 53, "models.a.base_url", "not an address"),
    "base_url with spaces": (VALID.replace("gpt-4o", "m, api_key_env: none, base_url: 'http://h /'"), 4, 53, "models.a.base_url", "not an address"),
    "base_url with a fragment": (VALID.replace("gpt-4o", "m, api_key_env: none, base_url: 'http://h/#x'"), 4, 53, "models.a.base_url", "fragment"),
    "key variable": (VALID.replace("gpt-4o", "m, api_key_env: 'my key'"), 4, 37, "models.a.api_key_env", "not the NAME of an environment variable"),
    "base_url of a local model": (VALID.replace('embedded:extractive"', "embedded:extractive\", base_url: 'http://h'"), 5, 47, "models.b.base_url", "calls no server"),
    "key of a replay": (VALID.replace('embedded:extractive"', 'replay:x", api_key_env: A_KEY'), 5, 39, "models.b.api_key_env", "calls no server"),
    "param that a slot sets": (VALID.replace("gpt-4o", "m, params: {temperature: 1}"), 4, 33, "models.a.params.temperature", "expected `temperature` of the slot instead"),
    "param that the run sets": (VALID.replace("gpt-4o", "m, params: {http_client: 1}"), 4, 33, "models.a.params.http_client", "the run itself sets it"),
    "mistyped provider": (VALID.replace("openai:", "opena:"), 4, 14, "models.a.model", 'there is no provider "opena" (did you mean "openai"?)'),
    "mistyped provider of ours": (VALID.replace("embedded:", "Embeded:"), 5, 14, "models.b.model", '(did you mean "embedded"?)'),
    "embedded model that is not there": (VALID.replace("extractive", "extract"), 5, 14, "models.b.model", 'there is no embedded model "extract"; expected embedded:extractive'),
    "ranker of an embedded model": (EMBEDDED("ranker: bm26"), 5, 54, "models.b.params.ranker", 'not one of the known words; expected one of "bm25", "tfidf", "textrank" (did you mean "bm25"?)'),
    "no sentences": (EMBEDDED("sentences: 0"), 5, 57, "models.b.params.sentences", "out of bounds; expected at least 1"),
    "too many sentences": (EMBEDDED("sentences: 101"), 5, 57, "models.b.params.sentences", "out of bounds; expected at most 100"),
    "part of a sentence": (EMBEDDED("sentences: 1.5"), 5, 57, "models.b.params.sentences", "expected a whole number"),
    "diversity": (EMBEDDED("diversity: 1.1"), 5, 57, "models.b.params.diversity", "out of bounds; expected at most 1"),
    "diversity in words": (EMBEDDED("diversity: much"), 5, 57, "models.b.params.diversity", "text stands here; expected a number"),
    "unknown param of an embedded model": (EMBEDDED("rankr: bm25"), 5, 46, "models.b.params.rankr", 'unknown key "rankr"; expected one of ranker, sentences, diversity (did you mean "ranker"?)'),
    "temperature in the params of an embedded model": (EMBEDDED("temperature: 1"), 5, 46, "models.b.params.temperature", "expected `temperature` of the slot instead"),
    "unknown slot": (VALID.replace("{model: a}", "{model: c}"), 8, 21, "aggregator.model", 'there is no slot "c" under `models`; expected one of "a", "b"'),
    "unknown slot in a layer": (VALID.replace("[a, b]", "[a, {model: bb}]"), 7, 28, "layers[0].proposers[1].model", 'did you mean "b"?'),
    "unknown fallback": (VALID.replace("{model: a}", "{model: a, fallbacks: [b, x]}"), 8, 39, "aggregator.fallbacks[1]", 'there is no slot "x"'),
    "no slots": (VALID.replace('models:\n  a: {model: openai:gpt-4o}\n  b: {model: "embedded:extractive"}', "models: {}"), 3, 9, "models", "empty"),
    "fallback to itself": (VALID.replace("{model: a}", "{model: a, fallbacks: [b, a]}"), 8, 39, "aggregator.fallbacks[1]", "has been tried before"),
    "fallback twice": (VALID.replace("{model: a}", "{model: a, fallbacks: [b, b]}"), 8, 39, "aggregator.fallbacks[1]", "has been tried before"),
    "two layers of one name": (VALID.replace("[a, b]", "[a]\n  - {name: layer-1, proposers: [b]}"), 8, 12, "layers[1].name", "is the name of layers[0] already"),
    "default name taken": (HEAD + "layers:\n  - {name: layer-2, proposers: [a]}\n  - proposers: [a]\n" + TAIL, 8, 5, "layers[1].name", '"layer-2" is the name of layers[0]'),
    "layer named aggregator": (VALID.replace("- proposers", "- name: aggregator\n    proposers"), 7, 11, "layers[0].name", '"aggregator" is taken'),
    "layer named as the state": (VALID.replace("- proposers", "- name: messages\n    proposers"), 7, 11, "layers[0].name", '"messages" is taken'),
    "layer named __start__": (VALID.replace("- proposers", "- name: __start__\n    proposers"), 7, 11, "layers[0].name", "not a name"),
    "proposer twice": (VALID.replace("[a, b]", "[a, a]"), 7, 20, "layers[0].proposers[1]", "give them an `id`"),
    "sample named as another": (VALID.replace("[a, b]", "[{model: a, id: a-2}, {model: a, samples: 2}]"), 7, 38, "layers[0].proposers[1]", '"a-2" is the id of proposers[0] already'),
    "quorum": (VALID.replace("[a, b]", "[a, {model: b, samples: 2}]\n    quorum: 4"), 8, 13, "layers[0].quorum", "expected at most 3"),
    "references in the first layer": (VALID.replace("[a, b]", "[a]\n    references: {placement: user}"), 8, 5, "layers[0].references", "nothing before it"),
    "too few calls": (VALID.replace("[a, b]", "[a, b]\n    quorum: 2") + "limits: {max_calls: 2}\n", 10, 21, "limits.max_calls", "expected at least 3"),
    "cost without price": (VALID + "limits: {max_cost: 1}\n", 4, 6, "models.a.price", "needs the price of every slot in use"),
    "cost without max_tokens": (VALID.replace("gpt-4o", "m, max_tokens: null, price: {input: 1, output: 1}") + "limits: {max_cost: 1}\n", 4, 36, "models.a.max_tokens", "needs the `max_tokens`"),
    "proposer of no kind": (VALID.replace("[a, b]", "[a, {id: x}]"), 7, 20, "layers[0].proposers[1].model", '"model" is missing; expected one of `model`, `runnable`, `spec`'),
    "proposer of two kinds": (VALID.replace("[a, b]", "[{runnable: r, model: a}]"), 7, 18, "layers[0].proposers[0].runnable", "`runnable` stands beside `model`"),
    "tools of a runnable": (VALID.replace("[a, b]", "[{runnable: r, tools: t}]"), 7, 31, "layers[0].proposers[0].tools", "`tools` goes with `model` alone"),
    "steps without tools": (VALID.replace("[a, b]", "[{model: a, max_steps: 3}]"), 7, 28, "layers[0].proposers[0].max_steps", "`max_steps` goes with `tools` alone; expected `tools` beside it"),
    "price of a proposer's model": (VALID.replace("[a, b]", "[{model: a, price: {input: 1, output: 1}}]"), 7, 28, "layers[0].proposers[0].price", "expected `price` of the slot instead"),
    "temperature of a runnable": (VALID.replace("[a, b]", "[{runnable: r, temperature: 1}]"), 7, 31, "layers[0].proposers[0].temperature", "`temperature` goes with `model` alone"),
    "tool twice": (VALID.replace("[a, b]", "[{model: a, tools: [t, u, t]}]"), 7, 42, "layers[0].proposers[0].tools[2]", '"t" is in the list already'),
    "too many steps": (VALID.replace("[a, b]", "[{model: a, tools: t, max_steps: 101}]"), 7, 49, "layers[0].proposers[0].max_steps", "at most 100"),
    "a nested spec that is a number": (VALID.replace("[a, b]", "[{spec: 3, id: x}]"), 7, 24, "layers[0].proposers[0].spec", "a number stands here; expected a mapping such as {moa: 1, name: inner, …}, or the path of a file"),
    "retriever that is text": (VALID + "retrievers: {r: bm25}\n", 9, 17, "retrievers.r", "expected a mapping such as {retriever: bm25"),
    "unknown retriever": (RETRIEVING("retriever: bm26, files: [x]"), 9, 29, "retrievers.r.retriever", "neither `bm25` nor `host:NAME`"),
    "bm25 without files": (RETRIEVING("retriever: bm25"), 9, 17, "retrievers.r.files", "`bm25` needs `files`"),
    "files of a host's retriever": (RETRIEVING("retriever: host:x, files: [y]"), 9, 37, "retrievers.r.files", "`files` goes with `bm25` alone"),
    "chunks of a host's retriever": (RETRIEVING("retriever: host:x, chunk_chars: 500"), 9, 37, "retrievers.r.chunk_chars", "`chunk_chars` goes with `bm25` alone"),
    "unknown key of a retriever": (RETRIEVING("retriever: host:x, file: y"), 9, 37, "retrievers.r.file", 'did you mean "files"?'),
    "retriever that is not there": (RETRIEVING("retriever: host:x") + "retrieve: q\n", 10, 11, "retrieve", 'there is no retriever "q" under `retrievers`; expected one of "r"'),
    "retriever that is nearly there": (VALID.replace("{model: a}", "{model: a, retrieve: [docz]}") + "retrievers: {docs: {retriever: host:x}}\n", 8, 35, "aggregator.retrieve[0]", 'did you mean "docs"?'),
    "retriever of a proposer": (VALID.replace("[a, b]", "[{model: a, retrieve: q}]"), 7, 38, "layers[0].proposers[0].retrieve", "expected its name there"),
    "retriever twice": (RETRIEVING("retriever: host:x") + "retrieve: [r, r]\n", 10, 15, "retrieve[1]", '"r" is in the list already'),
    "nothing to cite": (RETRIEVING("retriever: host:x").replace("{model: a}", "{model: a, citations: checked}"), 8, 35, "aggregator.citations", "nobody retrieves passages"),
    "citations that are no word": (VALID.replace("{model: a}", "{model: a, citations: chekced}"), 8, 35, "aggregator.citations", 'did you mean "checked"?'),
    "fan_out": (VALID + "fan_out: user_turns\n", 9, 10, "fan_out", 'did you mean "user_turn"?'),
    "cost of a runnable": (VALID.replace("{model: openai:gpt-4o}", "{model: embedded:extractive}").replace("[a, b]", "[{runnable: r}]") + "limits: {max_cost: 1}\n", 7, 17, "layers[0].proposers[0].price", "needs the price of every runnable"),
    "duplicate key": (VALID.replace("name: test", "name: test\nname: other"), 3, 1, "name", 'the key "name" is there twice'),
    "duplicate slot": (VALID.replace("  b:", "  a:"), 5, 3, "models.a", 'the key "a" is there twice'),
    "alias": (VALID.replace("{model: a}", "*x"), 8, 13, "aggregator", "an alias"),
    "anchor": (VALID.replace("{model: a}", "&x {model: a}"), 8, 13, "aggregator", "an anchor"),
    "anchor of a key": (VALID.replace("name:", "&x name:"), 2, 1, '["?"]', "an anchor"),
    "tag": (VALID.replace("name: test", "name: !!str test"), 2, 7, "name", "a tag"),
    "tag of a mapping": (VALID.replace("{model: a}", "!x {model: a}"), 8, 13, "aggregator", "a tag"),
    "tag of a key": (VALID.replace("name:", "!x name:"), 2, 1, '["?"]', "a tag"),
    "alias as a key": (VALID + "*x : 1\n", 9, 1, '["?"]', "an alias"),
    "merge key": (VALID.replace("{model: a}", "{<<: {model: b}, model: a}"), 8, 14, "aggregator", "a merge key"),
    "mapping as a key": (VALID + "? {a: 1}\n: 2\n", 9, 3, '["?"]', "a key that is not text"),
    "number as a key": (VALID.replace("  b:", "  12:"), 5, 3, 'models["?"]', "a key that is not text; expected quotes"),
    "second document": (VALID + "---\na: 1\n", 9, 1, "", "a second document begins here"),
    "directive": ("%YAML 1.1\n---\n" + VALID, 2, 1, "", "a directive"),
    "syntax": (VALID + "x: [1\n", 10, 1, "", "not valid YAML: expected ',' or ']'"),
    "tab": ("moa: 1\n\tname: x\n", 2, 1, "", "not valid YAML: a tab stands here, where YAML takes only spaces; indent with spaces, not tabs"),
    "tab after a colon": ("moa:\t1\n", 1, 5, "", "a tab stands here"),
    "escape beyond Unicode": ('moa: "\\UFFFFFFFF"\n', 1, 1, "", "not valid YAML"),
    "infinity": (VALID + "limits: {max_cost: .inf}\n", 9, 20, "limits.max_cost", "a number that is not finite"),
    "not a number in YAML": (VALID + "limits: {max_cost: .nan}\n", 9, 20, "limits.max_cost", "a number that is not finite"),
    "float overflow": (VALID + "limits: {max_cost: 1e400}\n", 9, 20, "limits.max_cost", "a number that is not finite"),
    "huge whole number": (VALID + "limits: {max_calls: " + "9" * 5000 + "}\n", 9, 21, "limits.max_calls", "too large"),
    "large whole number": (VALID + "limits: {max_calls: 0xFFFFFFFFFFFFFFFF}\n", 9, 21, "limits.max_calls", "too large"),
    "NUL": ("moa: 1\nname: a\0b\n", 2, 8, "", "the character U+0000"),
    "escaped NUL": (VALID.replace("name: test", 'name: "a\\0"'), 2, 7, "name", "NUL or a lone surrogate"),
    "escaped surrogate": (VALID + 'description: "\\ud800"\n', 9, 14, "description", "NUL or a lone surrogate"),
    "lone surrogate": (VALID + "description: '\ud800'\n", 9, 15, "", "not UTF-8"),
    "not UTF-8": (b"moa: 1\nname: \xff\n", 2, 7, "", "not UTF-8"),
    "UTF-16": ("moa: 1\n".encode("utf-16"), 1, 1, "", "not UTF-8"),
    "empty": ("", 1, 1, "", "the file is empty; expected a mapping that begins with `moa: 1`"),
    "only a comment": ("# hello\n", 2, 1, "", "the file is empty"),
    "only a marker": ("---\n", 2, 1, "", "the file is empty"),
    "a list": ("- a\n", 1, 1, "", "a list stands here; expected a mapping"),
    "a text": ("hello", 1, 1, "", "text stands here; expected a mapping"),
    "too deep": (VALID + "x: " + "[" * 40 + "]" * 40 + "\n", 9, 35, "x", "nested deeper than 32 levels"),
    "too large": (b"#" * (256 * 1024 + 1), 0, 0, "", "larger than 256 kB"),
    "too large a text": ("é" * (200 * 1024), 0, 0, "", "larger than 256 kB"),
    "a long tag": (VALID + "x: !" + "a" * 60_000 + " b\n", 9, 4, "", "more than 50000 characters with `!`"),
    "too many": (VALID + "x: [" + "a," * 30_000 + "]\n", None, None, "", "more than 10000 entries"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_a_fault_says_where_it_is_and_what_was_expected(case):
    text, line, column, path, said = TABLE[case]
    faults = faults_of(text)
    matching = [fault for fault in faults if said in str(fault)]
    assert matching, [str(fault) for fault in faults]
    [fault] = matching
    if line is not None:
        assert (fault.line, fault.column) == (line, column)
    assert fault.path == path
    assert fault.file == "s.yaml"


FOLLOWED = {"bad name of a slot", "duplicate slot", "number as a key", "tag of a key"}
"""Cases in which something else is then really missing."""


@pytest.mark.parametrize("case", sorted(TABLE.keys() - FOLLOWED))
def test_one_mistake_is_one_fault(case):
    assert len(faults_of(TABLE[case][0])) == 1


def test_all_faults_are_said_at_once_in_document_order():
    faults = faults_of(
        "moa: 3\nnmae: t\nmodels:\n  a: {model: openai:m, base_url: 'http://u:p@h', api_key_env: none}\n"
        "layers:\n  - proposers: [x]\n    quorum: 9\n    grace: soon\naggregator: {model: y, sytem: s}\n"
    )
    assert [(fault.line, fault.path) for fault in faults] == [
        (1, "name"),
        (1, "moa"),
        (2, "nmae"),
        (4, "models.a.base_url"),
        (6, "layers[0].proposers[0]"),
        (7, "layers[0].quorum"),
        (8, "layers[0].grace"),
        (9, "aggregator.model"),
        (9, "aggregator.sytem"),
    ]


def test_the_message_has_a_line_for_each_fault():
    with pytest.raises(SpecError) as caught:
        parse_spec("moa: 1\nname: t\nmodels: {a: {model: x}}\n", file="my.yaml")
    assert str(caught.value).splitlines() == [
        'my.yaml:1:1: aggregator: "aggregator" is missing; expected who writes the answer',
        "my.yaml:3:21: models.a.model: not of the form provider:model, such as openai:gpt-4o",
    ]


def test_a_path_quotes_names_with_dots():
    [fault] = faults_of(VALID.replace("  b:", "  Qwen1.5: {model: openai:m, extra: 1}\n  b:"))
    assert fault.path == 'models["Qwen1.5"].extra'


def test_a_long_name_is_shortened_in_a_message():
    [fault] = faults_of(VALID + "x" * 500 + ": 1\n")
    assert len(fault.message) < 100


@pytest.mark.parametrize("name", ["missing.yaml", ".", "nul\0.yaml", "x" * 5000])
def test_a_file_that_cannot_be_read_is_a_spec_error(tmp_path, name):
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(str(tmp_path / name))


def test_a_file_is_named_in_its_faults(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("moa: 2\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert {fault.file for fault in caught.value.faults} == {str(file)}


def test_a_file_that_is_too_large_is_not_read_to_its_end():
    with pytest.raises(SpecError, match="larger than 256 kB"):
        load_spec("/dev/zero")


@pytest.mark.parametrize("mark", ["", "\ufeff", "---\n", "# comment\n"])
def test_what_editors_put_first_is_fine(mark):
    assert parse_spec((mark + VALID).encode()).name == "test"


@pytest.mark.parametrize("end", ["...\n", "# end", "\r\n"])
def test_what_editors_put_last_is_fine(end):
    assert parse_spec(VALID + end).name == "test"


@pytest.mark.parametrize(
    ("scalar", "value"),
    [("2024-01-01", "2024-01-01"), ("yes", "yes"), ("1_000", "1_000"), ("1:30", "1:30"), ("'12'", "12"), ("017", 17),
     ("0o17", 15), ("0x1F", 31), ("1e3", 1000.0), (".5", 0.5), ("TRUE", True), ("~", None), ("", None), ("-3", -3)],
)  # fmt: skip
def test_scalars_are_read_as_yaml_1_2_reads_them(scalar, value):
    spec = parse_spec(VALID.replace("openai:gpt-4o", f"openai:m, params: {{x: {scalar}}}"))
    read = spec.models["a"].params["x"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1.5 s", 1.5), ("7", 7)]
)
def test_durations_are_seconds(text, seconds):
    assert parse_spec(VALID + f"defaults: {{timeout: {text}}}\n").defaults.timeout == seconds


def test_local_models_need_no_price_under_a_cost_limit():
    text = VALID.replace("openai:gpt-4o", "replay:answers.jsonl, params: {model: openai:gpt-4o}")
    assert parse_spec(text + "limits: {max_cost: 1}\n").limits.max_cost == 1


def test_a_slot_that_is_not_used_needs_no_price():
    text = VALID.replace("  b:", "  unused: {model: openai:x}\n  b:").replace(
        "openai:gpt-4o", "embedded:extractive"
    )
    assert parse_spec(text + "limits: {max_cost: 1}\n").limits.max_cost == 1


def test_a_proposers_own_max_tokens_bounds_its_cost():
    text = HEAD.replace("openai:m", "openai:m, max_tokens: null, price: {input: 1, output: 1}")
    text += (
        "limits: {max_cost: 1}\nlayers: [{proposers: [{model: a, max_tokens: 9}]}]\naggregator: {model: b}\n"
    )
    assert parse_spec(text).limits.max_cost == 1


def test_suggestions_end_after_many_faults():
    faults = faults_of(VALID + "".join(f"nam{number}: 1\n" for number in range(60)))
    assert [bool(fault.suggestion) for fault in faults] == [True] * 50 + [False] * 10


def test_a_proposer_that_is_a_number_is_one_fault():
    [fault] = faults_of(VALID.replace("[a, b]", "[a, 3]"))
    assert (fault.line, fault.column, fault.path) == (7, 20, "layers[0].proposers[1]")


def test_a_fallback_that_is_a_number_is_one_fault():
    [fault] = faults_of(VALID.replace("{model: a}", "{model: a, fallbacks: [3]}"))
    assert fault.path == "aggregator.fallbacks[0]"


def test_defaults_reach_every_member():
    spec = parse_spec(
        HEAD + "defaults: {timeout: 9s, attempts: 2}\nlayers:\n"
        "  - {timeout: 7s, proposers: [a, {model: b, timeout: 5s, attempts: 1}]}\n"
        "aggregator: {model: a, fallbacks: [b], attempts: 4}\n"
    )
    [layer] = spec.layers
    assert [(m.id, m.timeout, m.attempts) for m in spec.members(layer)] == [("a", 7, 2), ("b", 5, 1)]
    assert [(m.id, m.timeout, m.attempts) for m in spec.aggregators()] == [("a", 9, 4), ("b", 9, 4)]
    assert (spec.depth, spec.models["a"].provider, spec.models["a"].model_name) == (2, "openai", "m")


def test_every_param_of_an_embedded_model_is_judged_at_once():
    faults = faults_of(EMBEDDED("ranker: bm26, sentences: 0, foo: 1"))
    assert [(fault.line, fault.column, fault.path) for fault in faults] == [
        (5, 54, "models.b.params.ranker"),
        (5, 71, "models.b.params.sentences"),
        (5, 74, "models.b.params.foo"),
    ]


def test_an_embedded_model_takes_its_params():
    spec = parse_spec(EMBEDDED("ranker: textrank, sentences: 5, diversity: 1"))
    assert spec.models["b"].params == {"ranker": "textrank", "sentences": 5, "diversity": 1}


@pytest.mark.parametrize("model", ["nobody:x", "Anthropic:x", "azure-openai:x", "google_genai:x", "host:x"])
def test_a_provider_that_is_like_no_other_is_left_to_the_check_before_the_run(model):
    assert parse_spec(VALID.replace("openai:gpt-4o", model)).models["a"].model == model


def test_the_params_of_another_model_are_not_judged():
    text = VALID.replace("openai:gpt-4o", "openai:m, params: {ranker: bm26, foo: 1}")
    assert parse_spec(text).models["a"].params == {"ranker": "bm26", "foo": 1}


def test_a_key_in_the_params_of_an_embedded_model_is_not_repeated():
    [fault] = faults_of(EMBEDDED("api_key: hunter2"))
    assert "does not belong in a spec" in fault.message


def test_no_phrase_of_the_validator_is_said():
    said = "\n".join(str(fault) for text, *_ in TABLE.values() for fault in faults_of(text))
    for phrase in ("Input should be", "Extra inputs", "valid integer", "Field required"):
        assert phrase not in said
