"""Requests that something of the host's sends are booked before, settled after, refused at the limit."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.runnables import RunnableLambda

from moa_graph.budget import Budget, BudgetSpent
from moa_graph.models.failures import ModelOutputError
from moa_graph.proposers.meter import Meter, metered
from moa_graph.proposers.spending import Spending
from moa_graph.spec.schema import LimitsSpec, PriceSpec
from tests.fakes.models import ScriptedChatModel as Model

PRICE = PriceSpec(input=0, output=1000)


def spending(**limits: Any) -> Spending:
    return Spending(Budget(LimitsSpec(**limits)), PRICE, 10)


def end(text: str, **options: Any) -> LLMResult:
    return LLMResult(generations=[[ChatGeneration(message=AIMessage(text, **options))]])


@pytest.fixture
def account() -> Spending:
    return spending()


@pytest.fixture
def meter(account: Spending) -> Meter:
    return Meter(account)


def start(meter: Meter, parent: Any = None) -> Any:
    id_ = uuid4()
    meter.on_chat_model_start({}, [[HumanMessage("Why?")]], run_id=id_, parent_run_id=parent)
    return id_


async def test_a_refused_request_ends_the_chain_and_is_never_sent() -> None:
    model = Model("One.")
    with pytest.raises(BudgetSpent, match="max_calls = 1"):
        async with metered(spending(max_calls=1)) as meter:
            await (model | RunnableLambda(lambda message: [message]) | model).ainvoke(
                "Why?", meter.attached({})
            )
    assert len(model.calls) == 1


def test_a_refusal_comes_out_of_sync_calls_too() -> None:
    model = Model("One.")
    meter = Meter(spending(max_calls=1))
    model.invoke("Why?", meter.attached({}))
    with pytest.raises(BudgetSpent, match="max_calls = 1"):
        model.invoke("Why?", meter.attached({}))
    with pytest.raises(BudgetSpent, match="max_calls = 1"):
        list(model.stream("Why?", meter.attached({})))
    assert len(model.calls) == 1


async def test_a_refusal_comes_out_of_a_stream() -> None:
    model = Model("One.")

    async def twice() -> None:
        async with metered(spending(max_calls=1)) as meter:
            for _ in range(2):
                assert [chunk async for chunk in model.astream("Why?", meter.attached({}))]

    with pytest.raises(BudgetSpent):
        await twice()
    assert len(model.calls) == 1


async def test_retries_and_fallbacks_do_not_take_a_refusal_for_a_failure() -> None:
    model, tried = Model("One."), []
    account = spending(max_calls=1)
    account.begin([])

    async def ask(question: str) -> Any:
        tried.append(question)
        return await model.ainvoke(question)

    chain = RunnableLambda(ask).with_retry(stop_after_attempt=3).with_fallbacks([RunnableLambda(ask)])
    with pytest.raises(BudgetSpent):
        async with metered(account) as meter:
            await chain.ainvoke("Why?", meter.attached({}))
    assert (tried, model.calls) == (["Why?"], [])


async def test_a_swallowed_refusal_is_raised_in_the_end() -> None:
    model = Model("One.")

    async def thrice() -> None:
        async with metered(spending(max_calls=1)) as meter:
            config = meter.attached({})
            await asyncio.gather(*(model.ainvoke("Why?", config) for _ in range(3)), return_exceptions=True)

    with pytest.raises(BudgetSpent):
        await thrice()
    assert len(model.calls) == 1


async def test_a_refusal_comes_out_of_a_group_of_tasks() -> None:
    model = Model("One.")

    async def thrice() -> None:
        async with metered(spending(max_calls=1)) as meter, asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(model.ainvoke("Why?", meter.attached({})))

    with pytest.raises(BudgetSpent, match="max_calls = 1"):
        await thrice()


async def test_a_cancellation_from_outside_is_no_refusal() -> None:
    model, refused = Model("One."), asyncio.Event()

    async def swallow() -> None:
        async with metered(spending(max_calls=1)) as meter:
            with pytest.raises(BudgetSpent):
                await asyncio.gather(*(model.ainvoke("Why?", meter.attached({})) for _ in range(2)))
            refused.set()
            await asyncio.Event().wait()

    work = asyncio.ensure_future(swallow())
    await refused.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_is_no_refusal(error: type[BaseException]) -> None:
    account = spending(max_calls=1)
    account.begin([])

    async def end_it() -> None:
        async with metered(account):
            with pytest.raises(BudgetSpent):
                account.begin([])
            raise error

    with pytest.raises(error):
        await end_it()


async def test_an_error_of_a_chain_without_refusals_is_its_own() -> None:
    with pytest.raises(ValueError, match="down"):
        async with metered(spending()):
            raise ValueError("down")


def test_a_request_that_was_refused_by_the_provider_is_taken_back(meter: Meter, account: Spending) -> None:
    meter.on_llm_error(ConnectionError("gone"), run_id=start(meter))
    assert (account.attempts, account.usage, account.cut) == (1, None, False)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ModelOutputError("no choices")])
def test_a_request_that_ended_while_it_was_answered_counts(
    meter: Meter, account: Spending, error: BaseException
) -> None:
    meter.on_llm_error(error, run_id=start(meter))
    assert account.cut
    assert account.usage == {"input_tokens": 1, "output_tokens": 0, "source": "estimated"}


def test_a_request_that_failed_after_tokens_had_come_counts_them(meter: Meter, account: Spending) -> None:
    id_ = start(meter)
    meter.on_llm_new_token("Blue light ", run_id=id_)
    meter.on_llm_new_token(["scatters."], chunk=Generation(text="scatters."), run_id=id_)
    meter.on_llm_new_token(["nothing"], run_id=id_)
    meter.on_llm_error(ConnectionError("gone"), run_id=id_)
    assert account.usage == {"input_tokens": 1, "output_tokens": 5, "source": "estimated"}
    meter.on_llm_error(ConnectionError("gone"), run_id=id_)  # said twice, counted once
    assert account.usage["output_tokens"] == 5


def test_a_model_that_sends_requests_of_its_own_counts_once(meter: Meter, account: Spending) -> None:
    outer, chain = start(meter), uuid4()
    meter.on_chain_start({}, {}, run_id=chain, parent_run_id=outer)
    inner = start(meter, parent=chain)
    meter.on_llm_new_token("Inner", run_id=inner)
    meter.on_llm_end(end("Inner."), run_id=inner)
    usage = {"input_tokens": 30, "output_tokens": 20, "total_tokens": 50}
    meter.on_llm_end(end("Outer.", usage_metadata=usage), run_id=outer)
    assert (account.attempts, account.cost, account.usage["input_tokens"]) == (1, 0.02, 30)


def test_a_mixture_inside_a_model_pays_in_the_place_of_that_model(meter: Meter, account: Spending) -> None:
    wrapper = start(meter)
    mixture = start(meter, parent=wrapper)
    account.adopt(mixture)
    inner = Spending(Budget(LimitsSpec(), account=account), PRICE, 10)
    inner.begin([HumanMessage("Why?")])
    usage = {"input_tokens": 30, "output_tokens": 20, "total_tokens": 50}
    inner.finish(AIMessage("Inner.", usage_metadata=usage))
    meter.on_llm_end(end("Inner.", usage_metadata=usage), run_id=mixture)
    meter.on_llm_end(end("Inner.", usage_metadata=usage), run_id=wrapper)
    assert (account.attempts, account.cost, account.usage["input_tokens"]) == (1, 0.02, 30)


def test_requests_after_each_other_in_one_chain_all_count(meter: Meter, account: Spending) -> None:
    chain = uuid4()
    meter.on_chain_start({}, {}, run_id=chain)
    for _ in range(2):
        meter.on_llm_end(end("Blue."), run_id=start(meter, parent=chain))
    assert account.attempts == 2


def test_what_is_still_under_way_at_the_end_is_cut_short_and_nothing_more_is_sent(
    meter: Meter, account: Spending
) -> None:
    id_ = start(meter)
    meter.on_llm_new_token("Blue", run_id=id_)
    meter.close()
    assert account.usage == {"input_tokens": 1, "output_tokens": 1, "source": "estimated"}
    with pytest.raises(BudgetSpent, match="has ended"):
        start(meter)
    meter.on_llm_end(end("Blue."), run_id=id_)
    assert account.usage["output_tokens"] == 1
