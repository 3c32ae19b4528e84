"""Variants whose members read one another: who saw whom, in which order, by name or not, told to do what.

What each slot was told is compared as text; `tests.variants.stage` says how it is written.
"""

from __future__ import annotations

from moa_graph import load_spec
from moa_graph.models.failures import ProviderError
from tests.variants.stage import VARIANTS, answers, asked_about, play, says, synthesizing

FOUR = ["qwen-110b", "qwen-72b", "wizardlm-8x22b", "llama-70b"]
ASKED = "[human] Q?"


async def test_debaters_read_all_solutions_of_the_last_round_under_their_names() -> None:
    agents = answers(
        ("Check your solution", "After all it is \\boxed{12}."),
        ("agent-1", "\\boxed{12}"),
        ("agent-2", "\\boxed{13}"),
        ("agent-3", "\\boxed{14}"),
    )
    played = await play("debate", {"gpt-4o-mini": agents})
    *openings, first, second, third = played.told["gpt-4o-mini"]
    ending = "End with your answer as one number in \\boxed{}."
    assert openings == [f"[system] Your role: agent-{n}\n\n{ending}\n[human] Q?" for n in (1, 2, 3)]
    assert first == (
        "[system] Your role: agent-1\n\n"
        "End with your answer as one number in \\boxed{}.\n"
        "[human] Q?\n\n"
        "«instruction of rebuttal»\n"
        "1 by agent-1: \\boxed{12}\n"
        "2 by agent-2: \\boxed{13}\n"
        "3 by agent-3: \\boxed{14}"
    )
    assert second == first.replace("role: agent-1", "role: agent-2")
    assert third == first.replace("role: agent-1", "role: agent-3")
    assert played.answer == "After all it is \\boxed{12}."
    assert (played.moa["decision"]["answer"], played.moa["decision"]["votes"]) == ("12", 3)


async def test_reviewers_read_their_peers_alone_and_authors_their_own_draft_with_its_reviews() -> None:
    one, two, three = "qwen-110b", "qwen-72b", "llama-70b"
    cast = {
        one: says("draft 1", "review 1", "I say 8"),
        two: says("draft 2", "review 2", "I say 7"),
        three: says("draft 3", "review 3", "I say 7, too: 7"),
    }
    played = await play("critique-revise", cast)
    review, revise = "instruction of review", "instruction of revise"
    assert played.told == {
        one: [
            ASKED,
            asked_about(review, (two, "draft 2"), (three, "draft 3")),
            asked_about(
                revise,
                ("draft/qwen-110b", "draft 1"),
                ("review/qwen-72b", "review 2"),
                ("review/llama-70b", "review 3"),
                system="Your role: the author qwen-110b",
            ),
        ],
        two: [
            ASKED,
            asked_about(review, (one, "draft 1"), (three, "draft 3")),
            asked_about(
                revise,
                ("draft/qwen-72b", "draft 2"),
                ("review/qwen-110b", "review 1"),
                ("review/llama-70b", "review 3"),
                system="Your role: the author qwen-72b",
            ),
        ],
        three: [
            ASKED,
            asked_about(review, (one, "draft 1"), (two, "draft 2")),
            asked_about(
                revise,
                ("draft/llama-70b", "draft 3"),
                ("review/qwen-110b", "review 1"),
                ("review/qwen-72b", "review 2"),
                system="Your role: the author llama-70b",
            ),
        ],
    }
    assert (played.answer, played.moa["answered_by"]) == ("I say 7", "revise/qwen-72b")


async def test_council_members_rank_answers_without_names_and_the_chairman_reads_both_with_names() -> None:
    cast = {slot: says(f"answer of {slot}", f"ranking by {slot}", "The council's answer.") for slot in FOUR}
    played = await play("council", cast)
    ranks = asked_about("instruction of rank", *(f"answer of {slot}" for slot in FOUR))
    chairman = (
        "[human] Q?\n\n"
        "«instruction of aggregator»\n"
        "1 by answer/qwen-110b: answer of qwen-110b\n"
        "2 by answer/qwen-72b: answer of qwen-72b\n"
        "3 by answer/wizardlm-8x22b: answer of wizardlm-8x22b\n"
        "4 by answer/llama-70b: answer of llama-70b\n"
        "5 by rank/qwen-110b: ranking by qwen-110b\n"
        "6 by rank/qwen-72b: ranking by qwen-72b\n"
        "7 by rank/wizardlm-8x22b: ranking by wizardlm-8x22b\n"
        "8 by rank/llama-70b: ranking by llama-70b"
    )
    both = [ASKED, ranks]
    assert played.told == dict.fromkeys(FOUR, both) | {"qwen-110b": [*both, chairman]}
    assert played.answer == "The council's answer."


async def test_the_numbers_of_a_council_stay_the_same_for_all_when_a_member_fails() -> None:
    cast = {slot: says(f"answer of {slot}", f"ranking by {slot}", "final") for slot in FOUR}
    cast["qwen-72b"] = says("", "", "", "ranking by qwen-72b")  # it answers with nothing, three times
    played = await play("council", cast)
    left = ["qwen-110b", "wizardlm-8x22b", "llama-70b"]
    assert played.told["qwen-110b"][1:] == [
        asked_about("instruction of rank", *(f"answer of {slot}" for slot in left)),
        asked_about(
            "instruction of aggregator",
            *((f"answer/{slot}", f"answer of {slot}") for slot in left),
            *((f"rank/{slot}", f"ranking by {slot}") for slot in FOUR),
        ),
    ]


async def test_fusion_gives_the_outer_model_the_panel_and_the_judges_analysis() -> None:
    large, small = says("large", '{"consensus": []}', "final"), says("small one", "small two")
    played = await play("fusion", {"gpt-4o": large, "gpt-4o-mini": small})
    assert played.told == {
        "gpt-4o": [
            ASKED,
            asked_about(
                "instruction of judge",
                ("gpt-4o", "large"),
                ("gpt-4o-mini-1", "small one"),
                ("gpt-4o-mini-2", "small two"),
            ),
            asked_about(
                "instruction of aggregator",
                ("panel/gpt-4o", "large"),
                ("panel/gpt-4o-mini-1", "small one"),
                ("panel/gpt-4o-mini-2", "small two"),
                ("judge/judge", '{"consensus": []}'),
            ),
        ],
        "gpt-4o-mini": [ASKED, ASKED],
    }


async def test_fusion_goes_on_with_the_panel_when_its_judge_fails() -> None:
    large = says("large", ProviderError("no such parameter", status_code=400), "final")
    played = await play("fusion", {"gpt-4o": large, "gpt-4o-mini": says("small one", "small two")})
    assert played.answer == "final"
    assert played.told["gpt-4o"][-1] == asked_about(
        "instruction of aggregator",
        ("gpt-4o", "large"),
        ("gpt-4o-mini-1", "small one"),
        ("gpt-4o-mini-2", "small two"),
    )
    assert played.answer == "final"


SMOA_ROLES = {
    "qwen-110b": "a scientist who reasons from evidence and names what is uncertain",
    "qwen-72b": "a teacher who explains step by step, with an example",
    "wizardlm-8x22b": "a practitioner who wants an answer that works in practice",
    "llama-70b": "a critic who looks for mistakes, exceptions and missing cases",
}


async def test_smoa_shows_the_two_that_the_judge_selects_to_all_roles_of_the_next_layer() -> None:
    cast = {slot: says(f"{slot} drafts", f"{slot} refines") for slot in FOUR}
    cast["qwen-110b"] = says(
        "qwen-110b drafts", "4 > 2 > 1 > 3", "CONTINUE", "qwen-110b refines", "1 > 3 > 2 > 4", "final"
    )
    played = await play("smoa", cast)
    proposing = {
        slot: [
            f"[system] Your role: {role}\n[human] Q?",
            synthesizing("qwen-72b drafts", "llama-70b drafts", role=role),
        ]
        for slot, role in SMOA_ROLES.items()
    }
    drafting, refining = proposing["qwen-110b"]
    assert played.told == proposing | {
        "qwen-110b": [
            drafting,
            asked_about("rank", *(f"{slot} drafts" for slot in FOUR)),
            asked_about("enough", "qwen-72b drafts", "llama-70b drafts"),
            refining,
            asked_about("rank", *(f"{slot} refines" for slot in FOUR)),
            synthesizing("qwen-110b refines", "wizardlm-8x22b refines"),
        ]
    }
    assert played.answer == "final"


async def test_smoa_goes_to_the_aggregator_when_the_moderator_says_stop() -> None:
    cast = {slot: says(f"{slot} drafts") for slot in FOUR}
    cast["qwen-110b"] = says("qwen-110b drafts", "4 > 2 > 1 > 3", "They agree.\nSTOP", "final")
    played = await play("smoa", cast)
    assert [len(played.told[slot]) for slot in FOUR] == [4, 1, 1, 1]
    assert played.told["qwen-110b"][-1] == synthesizing("qwen-72b drafts", "llama-70b drafts")
    assert played.moa["stopped"]["layer"] == "draft"


async def test_smoa_keeps_the_first_two_when_the_judge_cannot_be_understood() -> None:
    cast = {slot: says(f"{slot} drafts") for slot in FOUR}
    cast["qwen-110b"] = says("qwen-110b drafts", *["All are good."] * 3, "STOP", "final")
    played = await play("smoa", cast)
    assert played.told["qwen-110b"][-1] == synthesizing("qwen-110b drafts", "qwen-72b drafts")


RMOA_ROLES = {
    "scientist": "a scientist who reasons from evidence",
    "teacher": "a teacher who explains step by step",
    "practitioner": "a practitioner who wants what works",
    "critic": "a critic who looks for mistakes",
}


async def test_rmoa_hands_on_the_three_most_different_and_what_the_layer_changed() -> None:
    # In each layer the teacher says nearly what the scientist says, and is left out.
    first = ["red apples", "red apples indeed", "green pears", "yellow plums"]
    second = ["sour cherries", "sour cherries indeed", "blue grapes", "ripe figs"]
    third = ["old wine", "old wine indeed", "white bread", "hard cheese"]
    cast = says(*first, *second, "All fruit is new.", *third, "No fruit is left.", "final")
    played = await play("rmoa", {"gpt-4o-mini": cast})
    roles = RMOA_ROLES.values()
    assert played.told["gpt-4o-mini"] == [
        *(f"[system] Your role: {role}\n[human] Q?" for role in roles),
        *(synthesizing("red apples", "green pears", "yellow plums", role=role) for role in roles),
        asked_about(
            "what changed",
            ("layer-1/scientist", "red apples"),
            ("layer-1/practitioner", "green pears"),
            ("layer-1/critic", "yellow plums"),
            ("layer-2/scientist", "sour cherries"),
            ("layer-2/practitioner", "blue grapes"),
            ("layer-2/critic", "ripe figs"),
        ),
        *(
            synthesizing("sour cherries", "blue grapes", "ripe figs", role=role, changes="All fruit is new.")
            for role in roles
        ),
        asked_about(
            "what changed",
            ("layer-2/scientist", "sour cherries"),
            ("layer-2/practitioner", "blue grapes"),
            ("layer-2/critic", "ripe figs"),
            ("layer-3/scientist", "old wine"),
            ("layer-3/practitioner", "white bread"),
            ("layer-3/critic", "hard cheese"),
        ),
        synthesizing("old wine", "white bread", "hard cheese", changes="No fruit is left."),
    ]
    assert played.answer == "final"


async def test_rmoa_ends_when_the_residual_agent_finds_no_change() -> None:
    same = ["red apples", "red apples indeed", "green pears", "yellow plums"]
    played = await play("rmoa", {"gpt-4o-mini": says(*same, *same, "NONE", "final")})
    assert played.moa["stopped"] == {"layer": "layer-2", "reason": "nothing changed in 1 layer"}
    assert len(played.told["gpt-4o-mini"]) == 10
    assert played.told["gpt-4o-mini"][-1] == synthesizing("red apples", "green pears", "yellow plums")


def test_the_roles_of_a_variant_are_the_same_in_all_its_layers() -> None:
    for name, roles in (("smoa", SMOA_ROLES), ("rmoa", RMOA_ROLES)):
        for layer in load_spec(VARIANTS / f"{name}.yaml").layers:
            assert {id_: proposer.role for id_, proposer in layer.ids()} == roles
