"""What goes with what in references, selection, stopping and reducing: every fault, and that the rest loads."""

# ruff: noqa: E501  (a table reads better with one case a line)

from contextlib import suppress

import pytest

from moa_graph.errors import SpecError
from moa_graph.spec import dump_spec, parse_spec, spec_hash
from moa_graph.spec.loading import is_hash_of
from tests.spec.samples import VALID

HEAD = "moa: 1\nname: t\nmodels:\n  a: {model: openai:m}\n  b: {model: embedded:extractive}\n"
LAYERS = ("name: draft, proposers: [a, b, {model: a, id: c}]", "name: deep, proposers: [a, b]", "name: last, proposers: [a]")  # fmt: skip


def FIRST(more):  # noqa: N802  (named as a table's heading)
    return document({0: more})


def SECOND(more):  # noqa: N802  (likewise)
    return document({1: more})


def REFERENCES(said):  # noqa: N802  (likewise)
    return SECOND(f"references: {{{said}}}")


def SELECT(said):  # noqa: N802  (likewise)
    return FIRST(f"select: {{{said}}}")


def STOP(said, layers=3):  # noqa: N802  (likewise)
    return document({}, stop=f"stop: {{{said}}}\n", layers=layers)


def FINAL(said, layers=3):  # noqa: N802  (likewise)
    return document({}, aggregator=said, layers=layers)


def document(more, *, stop="", aggregator="model: a", layers=3):
    rows = [f"  - {{{layer}, {more[i]}}}\n" if i in more else f"  - {{{layer}}}\n" for i, layer in enumerate(LAYERS[:layers])]  # fmt: skip
    return HEAD + ("layers:\n" + "".join(rows) if rows else "") + stop + f"aggregator: {{{aggregator}}}\n"


def faults_of(text):
    with pytest.raises(SpecError) as caught:
        parse_spec(text, file="s.yaml")
    return caught.value.faults


# (text with ^ where the fault stands, path, all that is said)
FAULTS = {
    # select
    "select is no word": (FIRST("select: ^rank"), "layers[0].select", "text stands here; expected a mapping such as {by: rank, model: a, keep: 2}"),
    "select by nothing": (SELECT("keep: 2").replace("{keep", "^{keep"), "layers[0].select.by", '"by" is missing; expected how they are chosen'),
    "select by an unknown word": (SELECT("by: ^rnk"), "layers[0].select.by", 'not one of the known words; expected one of "rank", "pairwise", "diversity", "cluster", "vote", "random" (did you mean "rank"?)'),
    "unknown key of select": (SELECT("by: cluster, ^kep: 2"), "layers[0].select.kep", 'unknown key "kep"; expected one of by, keep, model, instruction, extract, embeddings, seed, on_error (did you mean "keep"?)'),
    "rank without keep": (SELECT("^by: rank, model: a"), "layers[0].select.keep", "`by: rank` needs `keep`; expected how many go on, such as 2"),
    "rank without a model": (SELECT("^by: rank, keep: 2"), "layers[0].select.model", "`by: rank` needs `model`; expected a slot: who is asked"),
    "rank by nobody": (SELECT("by: rank, keep: 2, model: ^bb"), "layers[0].select.model", 'there is no slot "bb" under `models`; expected one of "a", "b" (did you mean "b"?)'),
    "rank at random": (SELECT("by: rank, keep: 2, model: a, ^seed: 1"), "layers[0].select.seed", "`seed` says nothing beside `by: rank`; expected it with `by: random`, or not at all"),
    "keep none": (SELECT("by: random, keep: ^0"), "layers[0].select.keep", "out of bounds; expected at least 1"),
    "keep more than there are": (SELECT("by: random, keep: ^4"), "layers[0].select.keep", "4 of a layer of 3; expected at most 3"),
    "pairwise without a model": (SELECT("^by: pairwise, keep: 1"), "layers[0].select.model", "`by: pairwise` needs `model`; expected a slot: who is asked"),
    "pairwise of many": (document({}).replace("model: a, id: c}]", "model: a, id: c, samples: 31}], select: {by: ^pairwise, keep: 1, model: a}"), "layers[0].select.by", "`by: pairwise` takes 1056 comparisons in a layer of 33; expected at most 32 proposers, or `by: rank`"),
    "diversity by a model": (SELECT("by: diversity, keep: 1, ^model: a"), "layers[0].select.model", "`model` says nothing beside `by: diversity`; expected it with `by: rank | pairwise`, or not at all"),
    "cluster with an extractor": (SELECT("by: cluster, ^extract: number"), "layers[0].select.extract", "`extract` says nothing beside `by: cluster`; expected it with `by: vote`, or not at all"),
    "random with embeddings": (SELECT("by: random, keep: 1, ^embeddings: e"), "layers[0].select.embeddings", "`embeddings` says nothing beside `by: random`; expected it with `by: diversity | cluster`, or not at all"),
    "random with an error": (SELECT("by: random, keep: 1, ^on_error: fail"), "layers[0].select.on_error", "`on_error` says nothing beside `by: random`; expected it with `by: rank | pairwise | diversity | cluster | vote`, or not at all"),
    "vote without an extractor": (SELECT("^by: vote"), "layers[0].select.extract", "`by: vote` needs `extract`; expected how an answer is read, such as number"),
    "vote by an unknown extractor": (SELECT("by: vote, extract: ^numbr"), "layers[0].select.extract.by", 'not one of the known words; expected one of "number", "choice", "regex", "json-path", "last-line" (did you mean "number"?)'),
    "vote by half an extractor": (SELECT("by: vote, extract: ^{by: json-path}"), "layers[0].select.extract.path", "`json-path` needs `path`; expected where it stands, such as {by: json-path, path: answer}"),
    "on_error of the aggregator": (SELECT("by: vote, extract: number, on_error: ^first"), "layers[0].select.on_error", 'not one of the known words; expected one of "keep_all", "keep_first", "fail" (did you mean "keep_first"?)'),
    # residual, concurrency
    "residual of the first layer": (FIRST("^residual: {model: a}"), "layers[0].residual", "the first layer has changed nothing; expected a later layer"),
    "residual by nobody": (SECOND("residual: ^{}"), "layers[1].residual.model", '"model" is missing; expected a slot: who compares the layer with the one before'),
    "residual that is a name": (SECOND("residual: ^a"), "layers[1].residual", "text stands here; expected a mapping such as {model: a}"),
    "residual by an unknown slot": (SECOND("residual: {model: ^q}"), "layers[1].residual.model", 'there is no slot "q" under `models`; expected one of "a", "b"'),
    "nobody at once": (FIRST("concurrency: ^0"), "layers[0].concurrency", "out of bounds; expected at least 1"),
    # temperatures, role
    "a temperature for each sample": (VALID.replace("[a, b]", "[{model: a, samples: 3, temperature: ^[0.3, 0.7]}]"), "layers[0].proposers[0].temperature", "2 temperatures for 3 samples; expected one for each sample"),
    "no temperature": (VALID.replace("[a, b]", "[{model: a, temperature: ^[]}]"), "layers[0].proposers[0].temperature", "empty; expected at least one entry"),
    "too hot": (VALID.replace("[a, b]", "[{model: a, temperature: [0.3, ^9]}]"), "layers[0].proposers[0].temperature[1]", "out of bounds; expected at most 5"),
    "warm": (VALID.replace("[a, b]", "[{model: a, temperature: ^warm}]"), "layers[0].proposers[0].temperature", "text stands here; expected a number, or a list of them such as [0.3, 0.7, 1.0]"),
    "empty role": (VALID.replace("[a, b]", "[{model: a, role: ^''}]"), "layers[0].proposers[0].role", "empty; expected some text"),
    # stop
    "stop is no word": (STOP("by: judge").replace("{by: judge}", "^judge"), "stop", "text stands here; expected a mapping such as {by: agreement, agree: 2, extract: number}"),
    "stop by an unknown word": (STOP("by: ^judgement"), "stop.by", 'not one of the known words; expected one of "agreement", "no_change", "similarity", "residual", "judge" (did you mean "judge"?)'),
    "agreement of how many": (STOP("^by: agreement, extract: number"), "stop.agree", "`by: agreement` needs `agree`; expected how many equal answers are enough, such as 2"),
    "agreement on what": (STOP("^by: agreement, agree: 2"), "stop.extract", "`by: agreement` needs `extract`; expected how an answer is read, such as number"),
    "agreement of one": (STOP("by: agreement, agree: ^1, extract: number"), "stop.agree", "out of bounds; expected at least 2"),
    "agreement of more than there are": (STOP("by: agreement, agree: ^4, extract: number"), "stop.agree", "the widest layer has 3 proposers; expected at most 3"),
    "agreement with a threshold": (STOP("by: agreement, agree: 2, extract: number, ^threshold: 0.5"), "stop.threshold", "`threshold` says nothing beside `by: agreement`; expected it with `by: similarity`, or not at all"),
    "no change of what": (STOP("^by: no_change"), "stop.extract", "`by: no_change` needs `extract`; expected how an answer is read, such as number"),
    "similarity of what degree": (STOP("^by: similarity"), "stop.threshold", "`by: similarity` needs `threshold`; expected a number from 0 to 1"),
    "more than the same": (STOP("by: similarity, threshold: ^2"), "stop.threshold", "out of bounds; expected at most 1"),
    "judged by whom": (STOP("^by: judge"), "stop.model", "`by: judge` needs `model`; expected a slot: who is asked"),
    "judged by nobody": (STOP("by: judge, model: ^q"), "stop.model", 'there is no slot "q" under `models`; expected one of "a", "b"'),
    "no residual of nobody": (STOP("by: ^residual"), "stop.by", "no layer has a `residual` that could be empty; expected `residual` in a layer"),
    "judged for layers": (STOP("by: judge, model: a, ^layers: 1"), "stop.layers", "`layers` says nothing beside `by: judge`; expected it with `by: no_change | residual`, or not at all"),
    "min_layers": (STOP("by: judge, model: a, min_layers: ^4"), "stop.min_layers", "there are 3 layers; expected at most 3"),
    "max_layers": (STOP("by: judge, model: a, max_layers: ^2", 1), "stop.max_layers", "there is 1 layer; expected at most 1"),
    "more than at most": (STOP("by: judge, model: a, min_layers: 2, max_layers: ^1"), "stop.max_layers", "less than `min_layers`; expected at least 2"),
    "stop without layers": (STOP("by: judge, model: a", 0).replace("stop", "^stop"), "stop", "there is no layer to stop after; expected layers"),
    "judge of the only layer": (STOP("by: ^judge, model: a", 1), "stop.by", "`by: judge` can leave out no layer of 1; expected at least 2 layers"),
    "agreement of all in the only layer": (STOP("by: agreement, agree: ^3, extract: number", 1), "stop.agree", "3 equal answers can leave out no layer and nobody in one; expected at most 2"),
    "agreement of more than the layers from then on have": (STOP("by: agreement, agree: ^3, extract: number, min_layers: 2"), "stop.agree", "3 equal answers can leave out no layer and nobody in one; expected at most 2"),
    "agreement in a last layer of one": (STOP("by: agreement, agree: ^2, extract: number, min_layers: 3"), "stop.agree", "2 equal answers can leave out no layer and nobody in one; expected a lower `min_layers`"),
    "agreement that max_layers hides": (STOP("by: agreement, agree: ^3, extract: number, max_layers: 1", 1), "stop.agree", "3 equal answers can leave out no layer and nobody in one; expected at most 2"),
    "judge after the last layer alone": (STOP("by: judge, model: a, min_layers: ^3"), "stop.min_layers", "`by: judge` can leave out no layer from then on; expected at most 2"),
    "similarity after the last layer alone": (STOP("by: similarity, threshold: 0.9, min_layers: ^3"), "stop.min_layers", "`by: similarity` can leave out no layer from then on; expected at most 2"),
    "residual of the last layer alone": (document({2: "residual: {model: a}"}, stop="stop: {by: ^residual}\n"), "stop.by", "no layer but the last has a `residual`; expected `residual` before the last layer"),
    "residuals that are not in a row": (document({2: "residual: {model: a}"}, stop="stop: {by: ^residual, layers: 2}\n"), "stop.by", "`by: residual` can leave out no layer of 3; expected at least 4 layers"),
    "residual before min_layers alone": (document({1: "residual: {model: a}"}, stop="stop: {by: residual, min_layers: ^3}\n"), "stop.min_layers", "`by: residual` can leave out no layer from then on; expected at most 2"),
    "judge of the only layer with max_layers": (STOP("by: ^judge, model: a, max_layers: 1", 1), "stop.by", "`by: judge` can leave out no layer of 1; expected at least 2 layers"),
    "similarity of two layers": (STOP("by: ^similarity, threshold: 0.9", 2), "stop.by", "`by: similarity` can leave out no layer of 2; expected at least 3 layers"),
    "no change for longer than there are layers": (STOP("by: ^no_change, extract: number, layers: 2"), "stop.by", "`by: no_change` can leave out no layer of 3; expected at least 4 layers"),
    # reduce
    "unknown reduce": (FINAL("model: a, reduce: ^merge"), "aggregator.reduce", 'not one of the known words; expected one of "synthesize", "pick", "vote", "consistency"'),
    "no aggregator at all": (FINAL("system: x").replace("{system", "^{system"), "aggregator.model", '"model" is missing; expected a slot: who writes the answer'),
    "pick by nobody": (FINAL("reduce: pick").replace("{reduce", "^{reduce"), "aggregator.model", '"model" is missing; expected a slot: who writes the answer'),
    "consistency by an unknown slot": (FINAL("reduce: consistency, model: ^q"), "aggregator.model", 'there is no slot "q" under `models`; expected one of "a", "b"'),
    "vote on what": (FINAL("^reduce: vote"), "aggregator.extract", "`reduce: vote` needs `extract`; expected how an answer is read, such as number"),
    "vote by a model": (FINAL("reduce: vote, extract: number, ^model: a"), "aggregator.model", "`model` says nothing beside `reduce: vote`: nobody is asked; expected no model"),
    "vote at a temperature": (FINAL("reduce: vote, extract: number, ^temperature: 1"), "aggregator.temperature", "`temperature` says nothing beside `reduce: vote`: nobody is asked; expected no model"),
    "vote with an instruction": (FINAL("reduce: vote, extract: number, references: {^instruction: x}"), "aggregator.references.instruction", "`instruction` says nothing beside `reduce: vote`: nobody reads it; expected no `instruction`"),
    "vote with a window": (FINAL("reduce: vote, extract: number, ^window: 3"), "aggregator.window", "`window` says nothing beside `reduce: vote`; expected it with `reduce: synthesize`, or not at all"),
    "weight of nobody": (FINAL("reduce: vote, extract: number, weights: {a: 2, ^bb: 1}"), "aggregator.weights.bb", 'there is no proposer "bb"; expected one of "a", "b", "c" (did you mean "b"?)'),
    "weight below zero": (FINAL("reduce: vote, extract: number, weights: {a: ^-1}"), "aggregator.weights.a", "out of bounds; expected at least 0"),
    "weights in a list": (FINAL("reduce: vote, extract: number, weights: ^[a]"), "aggregator.weights", "a list stands here; expected a mapping such as {a: 2}"),
    "weights of a synthesis": (FINAL("model: a, ^weights: {a: 2}"), "aggregator.weights", "`weights` says nothing beside `reduce: synthesize`; expected it with `reduce: vote`, or not at all"),
    "on_error of a synthesis": (FINAL("model: a, ^on_error: first"), "aggregator.on_error", "`on_error` says nothing beside `reduce: synthesize`; expected it with `reduce: pick | vote | consistency`, or not at all"),
    "extractor of a pick": (FINAL("reduce: pick, model: a, ^extract: number"), "aggregator.extract", "`extract` says nothing beside `reduce: pick`; expected it with `reduce: vote`, or not at all"),
    "half an extractor of a vote": (FINAL("reduce: vote, extract: ^{by: regex}"), "aggregator.extract.pattern", "`regex` needs `pattern`; expected a regular expression, such as {by: regex, pattern: 'answer is (\\w+)'}"),
    "window of one": (FINAL("model: a, window: ^1"), "aggregator.window", "out of bounds; expected at least 2"),
    "pick of nothing": (FINAL("^reduce: pick, model: a", 0), "aggregator.reduce", "there are no proposals to take one of; expected layers"),
    "vote on nothing": (FINAL("reduce: vote, extract: number, references: {from: ^none}"), "aggregator.references.from", "`reduce: vote` takes one of the proposals that it sees; expected previous, all, or a list of layers"),
    "pick of none": (FINAL("reduce: pick, model: a, references: {from: ^none}"), "aggregator.references.from", "`reduce: pick` takes one of the proposals that it sees; expected previous, all, or a list of layers"),
    "consistency of none": (FINAL("reduce: consistency, model: a, references: {from: ^none}"), "aggregator.references.from", "`reduce: consistency` takes one of the proposals that it sees; expected previous, all, or a list of layers"),
    "pick in the system prompt": (FINAL("reduce: pick, model: a, references: {placement: ^system}"), "aggregator.references.placement", "`reduce: pick` shows the proposals in the user's message; expected user, or no `placement`"),
    # references: shapes
    "from an unknown word": (REFERENCES("from: ^next"), "layers[1].references.from", 'not one of the known words; expected one of "previous", "all", "own", "none", or a list of layers'),
    "from a layer outside of a list": (REFERENCES("from: ^draft"), "layers[1].references.from", 'not one of the known words; expected one of "previous", "all", "own", "none", or a list of layers (did you mean [draft]?)'),
    "the aggregator from a layer outside of a list": (FINAL("model: a, references: {from: ^lst}"), "aggregator.references.from", 'not one of the known words; expected one of "previous", "all", "own", "none", or a list of layers (did you mean [last]?)'),
    "from a layer that comes later": (REFERENCES("from: ^last"), "layers[1].references.from", 'not one of the known words; expected one of "previous", "all", "own", "none", or a list of layers'),
    "from nearly a word": (REFERENCES("from: ^previus"), "layers[1].references.from", 'not one of the known words; expected one of "previous", "all", "own", "none", or a list of layers (did you mean "previous"?)'),
    "from a number": (REFERENCES("from: ^3"), "layers[1].references.from", "a number stands here; expected previous, all, own, none, or a list of earlier layers such as [draft]"),
    "from an empty list": (REFERENCES("from: ^[]"), "layers[1].references.from", "empty; expected at least one entry"),
    "from a list of numbers": (REFERENCES("from: [^3]"), "layers[1].references.from[0]", "a number stands here; expected the name of a layer, or a mapping such as {layer: draft, see: own}"),
    "from a layer without its name": (REFERENCES("from: [^{see: own}]"), "layers[1].references.from[0].layer", '"layer" is missing; expected an earlier layer'),
    "unknown key of a source": (REFERENCES("from: [{layer: draft, ^slf: true}]"), "layers[1].references.from[0].slf", 'unknown key "slf"; expected one of layer, see, self (did you mean "self"?)'),
    "own of whoever is new": (document({2: "references: {from: ^own}"}).replace("last, proposers: [a]", "last, proposers: [{model: a, id: new}]"), "layers[2].references.from", "nobody here has a proposal of its own in the layers that are referred to; expected proposers with the ids that they have there"),
    "own proposals of whoever is new": (document({2: "references: {see: ^own}"}).replace("last, proposers: [a]", "last, proposers: [{model: a, id: new}]"), "layers[2].references.see", "nobody here has a proposal of its own in the layers that are referred to; expected proposers with the ids that they have there"),
    "see an unknown word": (REFERENCES("see: ^some"), "layers[1].references.see", 'not one of the known words; expected one of "all", "own"'),
    "see a number": (REFERENCES("see: ^3"), "layers[1].references.see", "a number stands here; expected all, own, a list of groups such as [[a, b], [c, d]], or a mapping such as {a: [b, c]}"),
    "see true": (REFERENCES("see: ^true"), "layers[1].references.see", "true or false stands here; expected all, own, a list of groups such as [[a, b], [c, d]], or a mapping such as {a: [b, c]}"),
    "see names instead of groups": (REFERENCES("see: [^a]"), "layers[1].references.see[0]", "text stands here; expected a list"),
    "see a name instead of a list": (REFERENCES("see: {a: ^b}"), "layers[1].references.see.a", "text stands here; expected a list"),
    "self that is text": (REFERENCES("self: ^maybe"), "layers[1].references.self", "text stands here; expected true or false"),
    "self of a source that is a number": (REFERENCES("from: [{layer: draft, self: ^3}]"), "layers[1].references.from[0].self", "a number stands here; expected true or false"),
    "inner name of self": (REFERENCES("^self_: true"), "layers[1].references.self_", 'unknown key "self_"; expected one of from, see, self, placement, order, seed, anonymous, max_chars, payload, summarizer, instruction (did you mean "self"?)'),
    "unknown order": (REFERENCES("order: ^shuffle"), "layers[1].references.order", 'not one of the known words; expected one of "listed", "shuffled" (did you mean "shuffled"?)'),
    "no character": (REFERENCES("max_chars: ^0"), "layers[1].references.max_chars", "out of bounds; expected at least 1"),
    "empty instruction": (REFERENCES("instruction: ^''"), "layers[1].references.instruction", "empty; expected some text"),
    # references: who there is
    "from an unknown layer": (REFERENCES("from: [^drft]"), "layers[1].references.from[0]", 'there is no earlier layer "drft"; expected one of "draft" (did you mean "draft"?)'),
    "from itself": (REFERENCES("from: [^deep]"), "layers[1].references.from[0]", 'there is no earlier layer "deep"; expected one of "draft"'),
    "from a later layer in a mapping": (REFERENCES("from: [{layer: ^last}]"), "layers[1].references.from[0].layer", 'there is no earlier layer "last"; expected one of "draft"'),
    "from a layer twice": (REFERENCES("from: [draft, {layer: ^draft}]"), "layers[1].references.from[1].layer", '"draft" is in the list already'),
    "in a group that is nobody": (REFERENCES("see: [[a, ^x]]"), "layers[1].references.see[0][1]", 'there is no proposer "x"; expected one of "a", "b", "c"'),
    "in a group twice": (REFERENCES("see: [[a, ^a]]"), "layers[1].references.see[0][1]", '"a" is in the list already'),
    "seen by nobody": (REFERENCES("see: {^c: [a]}"), "layers[1].references.see.c", 'there is no proposer "c"; expected one of "a", "b"'),
    "seen that is nobody": (REFERENCES("from: [{layer: draft, see: {a: [^x]}}]"), "layers[1].references.from[0].see.a[0]", 'there is no proposer "x"; expected one of "a", "b", "c"'),
    "see beside own": (REFERENCES("from: own, ^see: [[a, b]]"), "layers[1].references.see", "`see` says nothing beside `from: own`; expected no `see`, or another `from`"),
    "self beside own": (REFERENCES("from: own, ^self: false"), "layers[1].references.self", "`self` says nothing beside `from: own`; expected no `self`, or another `from`"),
    "self beside see own": (REFERENCES("see: own, ^self: false"), "layers[1].references.self", "`self` says nothing beside `see: own`; expected no `self`, or another `see`"),
    "self of a source beside see own": (REFERENCES("from: [{layer: draft, see: own, ^self: false}]"), "layers[1].references.from[0].self", "`self` says nothing beside `see: own`; expected no `self`, or another `see`"),
    "self of a source beside see own of all": (REFERENCES("see: own, from: [{layer: draft, ^self: false}]"), "layers[1].references.from[0].self", "`self` says nothing beside `see: own`; expected no `self`, or another `see`"),
    "see beside none": (REFERENCES("from: none, ^see: own"), "layers[1].references.see", "`see` says nothing beside `from: none`; expected no `see`, or another `from`"),
    "order beside none": (REFERENCES("from: none, ^order: shuffled"), "layers[1].references.order", "`order` says nothing beside `from: none`; expected no `order`, or another `from`"),
    "instruction beside none": (REFERENCES("from: none, ^instruction: Criticise."), "layers[1].references.instruction", "`instruction` says nothing beside `from: none`; expected no `instruction`, or another `from`"),
    "summaries of none": (REFERENCES("from: none, ^payload: summary"), "layers[1].references.payload", "`payload` says nothing beside `from: none`; expected no `payload`, or another `from`"),
    "placement of none for the aggregator": (FINAL("model: a, references: {from: none, ^placement: user}"), "aggregator.references.placement", "`placement` says nothing beside `from: none`; expected no `placement`, or another `from`"),
    "seed of the listed order": (REFERENCES("^seed: 3"), "layers[1].references.seed", "`seed` says nothing without `order: shuffled`; expected `order: shuffled` beside it"),
    "summaries by whom": (REFERENCES("^payload: summary"), "layers[1].references.summarizer", "`payload: summary` needs `summarizer`; expected a slot"),
    "summaries by nobody": (REFERENCES("payload: summary, summarizer: ^q"), "layers[1].references.summarizer", 'there is no slot "q" under `models`; expected one of "a", "b"'),
    "summarizer of answers": (REFERENCES("^summarizer: a"), "layers[1].references.summarizer", "`summarizer` says nothing without `payload: summary`; expected `payload: summary` beside it"),
    "references of the first layer": (FIRST("^references: {from: none}"), "layers[0].references", "the first layer has nothing before it to refer to; expected `references` in a later layer or in the aggregator"),
    # references of the aggregator
    "own of the aggregator": (FINAL("model: a, references: {from: ^own}"), "aggregator.references.from", "the aggregator has no proposals of its own; expected previous, or all"),
    "self of the aggregator": (FINAL("model: a, references: {^self: false}"), "aggregator.references.self", "the aggregator has no proposals of its own; expected no `self`"),
    "groups of the aggregator": (FINAL("model: a, references: {^see: [[a]]}"), "aggregator.references.see", "the aggregator is in no group; expected `see: all`, and `from` with layers"),
    "groups of a source of the aggregator": (FINAL("model: a, references: {from: [{layer: draft, ^see: own}]}"), "aggregator.references.from[0].see", "the aggregator is in no group; expected `see: all`, and `from` with layers"),
    "unknown layer of the aggregator": (FINAL("model: a, references: {from: [^dep]}"), "aggregator.references.from[0]", 'there is no earlier layer "dep"; expected one of "draft", "deep", "last" (did you mean "deep"?)'),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_one_mistake_is_one_fault_that_says_where_it_is_and_how_to_mend_it(case):
    marked, path, said = FAULTS[case]
    before, _, after = marked.partition("^")
    [fault] = faults_of(before + after)
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert str(fault) == f"s.yaml:{place[0]}:{place[1]}: {path}: {said}"


LOADS = {
    "rank": SELECT("by: rank, model: a, keep: 2, instruction: Rank., on_error: fail"),
    "pairwise": SELECT("by: pairwise, model: b, keep: 1, on_error: keep_first"),
    "diversity": SELECT("by: diversity, keep: 3, embeddings: of-the-host"),
    "cluster": SELECT("by: cluster"),
    "vote": SELECT("by: vote, extract: {by: choice, choices: [yes, no]}, keep: 2"),
    "random": SELECT("by: random, keep: 2, seed: 7"),
    "residual": SECOND("residual: {model: b, instruction: What changed?}"),
    "concurrency": FIRST("concurrency: 1"),
    "agreement": STOP("by: agreement, agree: 2, extract: {by: regex, pattern: '(\\d+)', equality: number}", 1),
    "no_change": STOP("by: no_change, extract: last-line, layers: 1, max_layers: 3"),
    "no_change that ends by max_layers": STOP("by: no_change, extract: number, max_layers: 1", 2),
    "similarity": STOP("by: similarity, threshold: 0.95, min_layers: 2"),
    "no residual": document({1: "residual: {model: a}"}, stop="stop: {by: residual, layers: 1}\n"),
    "judge": STOP("by: judge, model: a, instruction: Enough?, min_layers: 1, max_layers: 2"),
    "agreement that ends the last layer early": STOP("by: agreement, agree: 2, extract: number, min_layers: 1", 1),
    "agreement of all in a layer but the last": STOP("by: agreement, agree: 2, extract: number, min_layers: 2"),
    "residual that max_layers ends": document({2: "residual: {model: a}"}, stop="stop: {by: residual, max_layers: 2}\n"),
    "self of one source beside own of another": document({2: "references: {self: false, from: [draft, {layer: deep, see: own}]}"}),
    "self of a source that sees more than its own": document({2: "references: {see: own, self: false, from: [{layer: draft, see: all}]}"}),
    "pick in the user's message": FINAL("reduce: pick, model: a, references: {placement: user}"),
    "pick": FINAL("reduce: pick, model: a, fallbacks: [b], on_error: first"),
    "consistency": FINAL("reduce: consistency, model: a, system: Be brief."),
    "majority": FINAL("reduce: vote, extract: number, weights: {a: 2, c: 0.5}, on_error: first"),
    "vote over shuffled references": FINAL("reduce: vote, extract: number, references: {from: all, order: shuffled}"),
    "window": FINAL("model: a, window: 2, citations: none"),
    "all": REFERENCES("from: all, self: false"),
    "own": REFERENCES("from: own"),
    "none": REFERENCES("from: none"),
    "layers": document({2: "references: {from: [draft, {layer: deep, see: own, self: true}]}"}),
    "groups": REFERENCES("see: [[a, b], [b, c]]"),
    "lists": REFERENCES("see: {a: [b, c], b: []}"),
    "shuffled": REFERENCES("order: shuffled, seed: 3, anonymous: false, max_chars: 500"),
    "summaries": REFERENCES("payload: summary, summarizer: b, placement: user, instruction: Criticise."),
    "of the aggregator": FINAL("model: a, references: {from: [draft, deep], see: all, anonymous: false}"),
    "temperatures": VALID.replace("[a, b]", "[{model: a, temperature: [0.3, 0.7, 1]}]"),
    "temperatures for samples": VALID.replace("[a, b]", "[{model: a, samples: 2, temperature: [0, 5]}]"),
    "one temperature": VALID.replace("[a, b]", "[{model: a, temperature: [0.5]}]"),
    "role": VALID.replace("[a, b]", "[{model: a, role: a sceptic, system: Doubt., id: s}]"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOADS)
def test_what_means_something_loads_and_survives_the_round_trip(case):
    spec = parse_spec(LOADS[case])
    text = dump_spec(spec)
    again = parse_spec(text)
    assert again == spec
    assert dump_spec(again) == text
    assert spec_hash(again) == spec_hash(spec)
    assert is_hash_of(spec_hash(spec), spec)


@pytest.mark.parametrize("case", LOADS)
def test_each_of_them_changes_the_hash(case):
    plain = VALID if LOADS[case].startswith(VALID[:40]) else document({})
    hashes = {spec_hash(parse_spec(text)) for text in (LOADS[case], plain)}
    assert len(hashes) == 2


def test_what_says_a_default_leaves_the_hash_alone():
    spoken = REFERENCES(
        "from: previous, see: all, self: true, placement: system, order: listed, anonymous: true, payload: answer"
    ).replace("{model: a}\n", "{model: a, reduce: synthesize, weights: {}, window: null}\nstop: null\n")
    assert "stop" in spoken
    assert spec_hash(parse_spec(spoken)) == spec_hash(parse_spec(document({})))


HASH = "sha256:1b961c91fa1d30a423fc51ffeb1a772408dbe5883d896453b7fc70a5da269562"
"""What the release before these keys computed for VALID."""


def test_specs_without_these_keys_keep_the_hash_that_they_had():
    assert spec_hash(parse_spec(VALID)) == HASH


def test_a_list_of_temperatures_gives_each_sample_its_own():
    spec = parse_spec(LOADS["temperatures"])
    [layer] = spec.layers
    assert [(member.id, member.temperature) for member in spec.members(layer)] == [("a-1", 0.3), ("a-2", 0.7), ("a-3", 1)]  # fmt: skip
    [layer] = (single := parse_spec(LOADS["one temperature"])).layers
    assert [(member.id, member.temperature) for member in single.members(layer)] == [("a", 0.5)]


def test_a_role_stands_before_the_system_prompt():
    [member] = (spec := parse_spec(LOADS["role"])).members(spec.layers[0])
    assert member.system == "Your role: a sceptic\n\nDoubt."


KEYS = [
    *(f"layers[1].references.{key}" for key in ("from", "see", "self", "order", "seed", "anonymous", "max_chars", "payload", "summarizer", "instruction")),
    *(f"layers[1].select.{key}" for key in ("by", "keep", "model", "instruction", "extract", "embeddings", "seed", "on_error")),
    *(f"layers[1].residual.{key}" for key in ("model", "instruction")),
    *(f"stop.{key}" for key in ("by", "agree", "layers", "threshold", "model", "instruction", "extract", "min_layers", "max_layers")),
    *(f"aggregator.{key}" for key in ("reduce", "extract", "weights", "window", "on_error")),
    "layers[1].references", "layers[1].select", "layers[1].residual", "layers[1].concurrency", "stop",
]  # fmt: skip
ODD = ["null", "true", "-1", "0", "1.5", "1e9", "''", "x", "[]", "{}", "[[]]", "[{}]", "[null]", "[[null]]", "[[a, [b]]]", "{a: {}}", "{a: [[]]}", "[{layer: []}]", "[{layer: draft, see: [3]}]", "{by: {}}", "{from: {}}"]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "way", ["by: rank", "by: vote", "by: agreement", "by: judge", "reduce: vote", "from: own"]
)
def test_odd_values_are_faults_and_nothing_worse(key, way):
    holder, _, name = key.rpartition(".")
    for value in ODD:
        said = f"{name}: {value}"
        if not way.startswith(name):
            said += f", {way}"
        match holder.rpartition(".")[2] or name:
            case "stop":
                text = STOP(said) if holder else document({}, stop=f"{said.partition(',')[0]}\n")
            case "aggregator":
                text = FINAL(f"model: a, {said}")
            case "layers[1]":
                text = SECOND(said.partition(", by")[0])
            case inner:
                text = SECOND(f"{inner}: {{{said}}}")
        with suppress(SpecError):  # anything else is a failure
            assert parse_spec(text).moa == 1
