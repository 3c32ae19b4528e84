"""Any bytes give a spec or a SpecError, within a second and 100 MB."""

# ruff: noqa: E501  (a table reads better with one case a line)

import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moa_graph.errors import SpecError
from moa_graph.spec import MoASpec, dump_spec, load_spec, parse_spec
from tests.spec.samples import VALID, valid_data

SETTINGS = settings(max_examples=300, deadline=1000, suppress_health_check=[HealthCheck.too_slow])

YAML_PIECES = st.lists(
    st.sampled_from(
        ["- ", "? ", ": ", "{", "}", "[", "]", ",", "&a ", "*a", "!t ", "!!int ", "<<", "|", ">", "'", '"', "\\", "#",
         "%YAML 1.1\n", "---\n", "...\n", "\n", "  ", "\t", "moa: 1\n", "models", "a", "1", "~", "\r", "\u2028", "\\x",
         "\\U00110000", "@", "`", "=", "\x85", "é"]
    )
)  # fmt: skip


def outcome(source):
    """Return the spec or the error; anything else that is raised fails the test."""
    try:
        return parse_spec(source)
    except SpecError as error:
        return error if error.faults and str(error) else None


@SETTINGS
@given(st.binary(max_size=300))
def test_any_bytes_give_a_spec_or_a_spec_error(content):
    assert isinstance(outcome(content), MoASpec | SpecError)


@SETTINGS
@given(st.text(max_size=300))
def test_any_text_gives_a_spec_or_a_spec_error(text):
    assert isinstance(outcome(text), MoASpec | SpecError)


@SETTINGS
@given(YAML_PIECES)
def test_any_mix_of_yaml_gives_a_spec_or_a_spec_error(pieces):
    assert isinstance(outcome("".join(pieces)), MoASpec | SpecError)


@SETTINGS
@given(st.data(), st.sampled_from([VALID]))
def test_a_changed_spec_gives_a_spec_or_a_spec_error(data, text):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    patch = data.draw(st.one_of(st.text(max_size=8), YAML_PIECES.map("".join)))
    assert isinstance(outcome(text[:start] + patch + text[end:]), MoASpec | SpecError)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)


@SETTINGS
@given(valid_data(), st.data(), JSON)
def test_any_value_anywhere_gives_a_spec_or_a_spec_error(data, draw, value):
    place = data
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        if not keys:
            break
        key = draw.draw(st.sampled_from(list(keys)))
        if not isinstance(place[key], dict | list) or draw.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    try:
        spec = load_spec(data)
    except SpecError:
        return
    assert parse_spec(dump_spec(spec)) == spec


HOSTILE = {
    "laughs": "'a: &a [x, x]\\n' + ''.join(f'{chr(98 + i)}: &{chr(98 + i)} [' + f'*{chr(97 + i)}, ' * 9 + ']\\n' for i in range(20))",
    "brackets": "'[' * 256000",
    "braces": "'{' * 256000",
    "nested": "'[[],' * 60000",
    "dashes": "'- ' * 128000",
    "questions": "'? ' * 128000",
    "keys": "''.join(f'k{i}: v\\n' for i in range(24000))",
    "same key": "'k: v\\n' * 50000",
    "items": "'- a\\n' * 64000",
    "flow": "'[' + 'a,' * 127000 + ']'",
    "documents": "'---\\n' * 60000",
    "scalar": "'moa: ' + 'x' * 255000",
    "key": "'x' * 255000 + ': 1'",
    "lines": "'moa:\\n' + '  x\\n' * 60000",
    "quoted": "'moa: \"' + 'a\\n' * 120000 + '\"'",
    "block": "'moa: |\\n' + ' x\\n' * 80000",
    "comments": "'#\\n' * 128000",
    "tag": "'!' * 256000",
    "tag of a text": "'moa: !' + 'a' * 250000 + ' x'",
    "tags": "'moa: [' + ('!' + 'a' * 49000 + ' x,') * 5",
    "digits": "'moa: ' + '9' * 255000",
    "exponent": "'moa: 1e400'",
    "duration": "VALID + 'defaults: {timeout: ' + '1' * 250000 + 's}'",
    "duration of spaces": "VALID + 'defaults: {timeout: \"1' + ' ' * 250000 + 'x\"}'",
    "bearers": "VALID + 'description: ' + 'Bearer  ' * 30000",
    "prefixes": "VALID + 'description: ' + 'sk-' * 80000",
    "dots": "VALID + 'description: ' + '1.' * 120000 + 'e'",
    "variables": "VALID.replace('gpt-4o', 'm, api_key_env: ' + 'a_' * 120000)",
    "slots": "VALID.replace('[a, b]', '[' + 'x' * 100 + ', y' * 9000 + ']')",
    "unknown keys": "VALID + ''.join(f'modelz{i}: 1\\n' for i in range(9000))",
    "many slots": "VALID.replace('layers', ''.join(f'  s{i}: {{}}\\n' for i in range(4000)) + 'layers')",
    "wrong slots": "VALID.replace('layers', ''.join(f'  slot{i}: {{model: x:y}}\\n' for i in range(1500)) + 'layers').replace('[a, b]', '[' + 'slo, ' * 1500 + ']')",
}

NESTED = "'moa: 1\\nname: t\\nmodels: {a: {model: x:y}}\\naggregator: {model: a}\\n'"
NAMES = "'moa: 1\\nname: t\\nmodels: {a: {model: x:y}}\\naggregator: {model: a}\\nlayers: [{proposers: [' + ', '.join(%s) + ']}]\\n'"
HOSTILE_FILES = {
    "one large file often": (
        NAMES % "f'{{spec: i.yaml, id: p{n}}}' for n in range(1000)",
        {"i": NESTED + " + 'description: ' + 'x' * 255000"},
    ),
    "one file of faults often": (
        NAMES % "f'{{spec: i.yaml, id: p{n}}}' for n in range(1000)",
        {"i": "VALID + ''.join(f'modelz{i}: 1\\n' for i in range(4000))"},
    ),
    "files that multiply": (
        NAMES % "f'{{spec: i.yaml, id: p{n}}}' for n in range(1000)",
        {"i": NAMES % "f'{{spec: j.yaml, id: p{n}}}' for n in range(1000)", "j": NESTED},
    ),
    "files that are not there": (NAMES % "f'{{spec: i{n}.yaml, id: p{n}}}' for n in range(1200)", {}),
    "inline specs in each other": (
        NAMES % "['{spec: {moa: 1, layers: [{proposers: [' * 5 + '{}' + ']}]}}' * 5]",
        {},
    ),
    "many inline specs": (NAMES % "f'{{spec: {{moa: 1, nam: x}}, id: p{n}}}' for n in range(900)", {}),
    "itself": (NAMES % "f'{{spec: s.yaml, id: p{n}}}' for n in range(1200)", {}),
}


PROBE = """
import resource, sys, time
from moa_graph.errors import SpecError
from moa_graph.spec import parse_spec
VALID = {valid!r}
content = ({expression}).encode()
assert len(content) <= 256 * 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
try:
    parse_spec(content, file="s.yaml")
except SpecError as error:
    faults = len(error.faults)
else:
    faults = 0
seconds = time.process_time() - start
print(faults, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_within_a_second_and_100_mb(name):
    _refused(HOSTILE[name], may_load=name in {"bearers", "prefixes", "dots"})


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_hostile_files_inside_each_other_are_refused_within_a_second_and_100_mb(name, tmp_path):
    expression, files = HOSTILE_FILES[name]
    for file, text in [("s", expression), *files.items()]:
        content = eval(text, {"VALID": VALID})
        (tmp_path / f"{file}.yaml").write_text(content, encoding="utf-8")
    _refused(expression, folder=tmp_path)


def _refused(expression, *, folder=None, may_load=False):
    code = textwrap.dedent(PROBE).format(valid=VALID, expression=expression)
    # Measuring coverage in the child would triple the time that is measured.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    faults, seconds, megabytes = map(float, result.stdout.split())
    assert faults >= 1 or may_load
    assert seconds <= 1
    assert megabytes <= 100
