"""Change what a layer proposed before the next one sees it; what was there stays in the history."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from moa_graph.errors import MoAError, ThreadError
from moa_graph.proposers.outcomes import clean
from moa_graph.runs.commands import command, shell_word
from moa_graph.runs.thread import AGGREGATOR, RETRIEVE, Thread
from moa_graph.state import Proposal, is_proposal

__all__ = ["approve", "change_of", "commit"]


def change_of(
    thread: Thread, id_: str, *, text: str | None, drop: bool, add: bool
) -> tuple[str, dict[str, Any]]:
    """Return what an edit is called, and the proposal's update; raise ThreadError where it is refused.

    Only proposals that no later step has seen can be changed: those of the layer that ended last, and of an
    earlier one where nobody was shown it.
    """
    if drop == (text is not None):
        raise MoAError("an edit needs either a text or drop", hint="Give text=…, or drop=True.")
    layer = _open_layer(thread)
    if id_.partition("/")[0] != layer and not _is_unseen(thread, id_):
        raise _refused(thread, id_, layer)
    known = thread.proposals.get(id_)
    if known is not None and not is_proposal(known):
        raise ThreadError(
            f"{id_!r} says something about proposals, and is none itself",
            hint="Change or drop a proposal, or fork before the layer to have it judged anew.",
        )
    if (known is None) != add:
        raise (
            _unknown(thread, id_, layer)
            if known is None
            else ThreadError(f"there is a proposal {id_!r} already", hint="Leave out `add` to change it.")
        )
    if known is None and drop:
        raise MoAError("a proposal that is added needs a text", hint="Give text=….")
    if text is None:
        return f"dropped {id_}", {"status": "dropped", "edited": True}
    new, _ = clean(text)
    if not new.strip():
        raise MoAError("a proposal cannot be blank", hint="Drop it instead.")
    if known is None:
        return f"added {id_}", {**_by_hand(id_, new)}
    change = {"status": "ok", "text": new, "reasoning": "", "failure": None, "edited": True}
    # Whoever writes it anew wants it seen.
    return f"edited {id_}", change | ({"left_out": ""} if known.get("left_out") else {})


async def approve(thread: Thread, who: str) -> Thread:
    """Note that somebody looked at the proposals of the layer that ended last, and let them pass."""
    layer = _open_layer(thread)
    return await commit(thread, f"approved {layer}", {"status": "running"}, who)


async def commit(thread: Thread, what: str, values: dict[str, Any], who: str) -> Thread:
    """Write a checkpoint with an edit that says who made it; the checkpoint before it stays."""
    await thread.check_clock()
    config = thread.config()
    config["metadata"] |= {"moa_edit": what, "moa_by": clean(who)[0]}
    graph = thread.mixture.graph(thread.store)
    await graph.aupdate_state(config, values, as_node=thread.ended_steps[-1])
    return await Thread.load(thread.store, thread.record, thread.mixture)


def _open_layer(thread: Thread) -> str:
    """Return the layer that ended last, if what follows has not begun."""
    ended = thread.ended_steps
    if thread.answered:
        raise ThreadError(
            f"thread {thread.record.thread!r} is answered: its proposals have been used",
            hint=f"Fork it before a step (`{_fork(thread, 'aggregator')}`) and edit the fork.",
        )
    thread.check_reply()
    if ended in ([], [RETRIEVE]):
        raise ThreadError(
            f"no layer of thread {thread.record.thread!r} has ended yet",
            hint=f"Run the next one: `{command('step', thread.record.thread)}`.",
        )
    if thread.finished or thread.kept:
        raise ThreadError(
            f"layer {thread.next_step} has begun: {len(thread.finished) + len(thread.kept)} of its proposals "
            f"are made from those of {ended[-1]}",
            hint=f"Fork it before {thread.next_step} (`{_fork(thread, thread.next_step)}`) and edit the "
            "fork, or resume.",
        )
    return ended[-1]


def _is_unseen(thread: Thread, id_: str) -> bool:
    """Tell whether a proposal of a layer that ended is in no prompt of a later one."""
    layer = id_.partition("/")[0]
    later = [record for record in thread.proposals.values() if record["layer"] != layer]
    return id_ in thread.proposals and all(id_ not in record["references"] for record in later)


def _refused(thread: Thread, id_: str, layer: str) -> ThreadError:
    name = id_.partition("/")[0]
    if name not in thread.steps:
        return _unknown(thread, id_, layer)
    place = thread.steps.index(name)
    if place > thread.steps.index(layer):
        return ThreadError(
            f"layer {name} has not run yet", hint=f"Now the proposals of {layer} can be changed."
        )
    following = thread.steps[place + 1]
    return ThreadError(
        f"the proposals of {name} have been used by {following}",
        hint=f"Fork it before {following} (`{_fork(thread, following)}`) and edit the fork.",
    )


def _unknown(thread: Thread, id_: str, layer: str) -> ThreadError:
    ids = [
        known
        for known, record in thread.proposals.items()
        if known.partition("/")[0] == layer and is_proposal(record)
    ]
    close = get_close_matches(id_, ids, 1, 0.5)
    hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(ids)}."
    return ThreadError(
        f"there is no proposal {id_!r}", hint=f"{hint} One of your own is added with `--add` (`add=True`)."
    )


def _fork(thread: Thread, step: str | None) -> str:
    return command("fork", thread.record.thread, f"--before {shell_word(step or AGGREGATOR)}")


def _by_hand(id_: str, text: str) -> Proposal:
    layer, _, proposer = id_.partition("/")
    if not proposer.strip():
        raise MoAError(f"{id_!r} is no proposal's id", hint="Write LAYER/NAME.")
    return {
        "id": id_,
        "layer": layer,
        "proposer": proposer,
        "status": "ok",
        "text": text,
        "reasoning": "",
        "failure": None,
        "requested_model": "by hand",
        "actual_model": None,
        "attempts": 0,
        "usage": None,
        "cost": 0.0,
        "seconds": 0.0,
        "first_token_seconds": None,
        "edited": True,
        "warnings": [],
        "references": [],
    }
