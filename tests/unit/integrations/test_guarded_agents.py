"""An agent whose tools are guarded: DSPy's own modules, run as they are."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import cloudpickle
import dspy
import pytest

from conscience import ConfigurationError, Conscience
from conscience.integrations.tools import guard, guard_agent
from conscience.testing import ScriptedLM, by_stage, is_gate
from tests.unit.integrations.test_guarded_tools import FINDING, Post, gate, judged, program, reviewer


def turn(tool: str, **arguments: Any) -> str:
    thought = f"[[ ## next_thought ## ]]\nSo.\n\n[[ ## next_tool_name ## ]]\n{tool}\n\n"
    return f"{thought}[[ ## next_tool_args ## ]]\n{json.dumps(arguments)}\n\n[[ ## completed ## ]]"


def acts(*turns: str) -> Any:
    """A scripted ReAct: these turns, by how many observations it sees, then an answer."""

    def answer(messages: Any, params: Any) -> str:
        prompt = str(messages)
        if "next_tool_name" not in prompt:
            return "[[ ## reasoning ## ]]\nDone.\n\n[[ ## answer ## ]]\nDone.\n\n[[ ## completed ## ]]"
        seen = prompt.count("[[ ## observation_")
        return turns[seen] if seen < len(turns) else turn("finish")

    return answer


def agent_of(post: Post, *tools: Any) -> dspy.ReAct:
    return dspy.ReAct("question -> answer", tools=[post.send, *tools])


def ask(agent: Any, lm: ScriptedLM, *, is_async: bool = False) -> Any:
    with dspy.context(lm=lm):
        return asyncio.run(agent.acall(question="Write to Ann.")) if is_async else agent(question="Write to Ann.")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_react_is_told_why_and_goes_on(is_async: bool) -> None:
    """The refused call stands in its trajectory with the reason; the next one runs; the object is the caller's own."""
    post, judge = Post(), reviewer()
    agent = guard_agent(agent_of(post), program=program(judge))
    said = ask(agent, ScriptedLM(acts(turn("send", to="SECRET"), turn("send", to="Ann"))), is_async=is_async)
    assert "did not run" in said.trajectory["observation_0"]
    assert said.trajectory["observation_1"] == "sent to Ann"
    assert [to for to, _ in post.sent] == ["Ann"]
    assert said.answer == "Done."
    assert all("Write to Ann." in str(messages) for messages, _ in judge.calls)
    assert not any("finish" in judged(messages) for messages, _ in judge.calls if is_gate(messages))


async def test_the_event_loop_goes_on_while_a_sync_tool_is_reviewed() -> None:
    """Where an agent waits for its tools, as DSPy's async ones do."""
    post, turns = Post(), 0
    tool = guard(dspy.Tool(post.send), program=program(ScriptedLM(by_stage(gate=0.01), seconds=0.02)))
    waiting = asyncio.ensure_future(tool.acall(to="Ann"))
    while not waiting.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 5
    assert await waiting == "sent to Ann"
    assert tool(to="Bob") == "sent to Bob"

    async def twice(to: str) -> list[Any]:
        return [tool.func(to), await tool.acall(to=to)]

    for inside in (guard(dspy.Tool(twice), program=program()), dspy.Tool(twice)):
        assert await inside.acall(to="Cy") == ["sent to Cy"] * 2


def test_an_agent_that_insists_is_told_again_without_a_review() -> None:
    """An agent's retries of a refused call are free, and pointless."""
    post, judge = Post(), reviewer()
    agent = guard_agent(agent_of(post), program=program(judge))
    said = ask(agent, ScriptedLM(acts(*[turn("send", to="SECRET")] * 4)))
    assert len({said.trajectory[f"observation_{number}"] for number in range(4)}) == 1
    once = len(judge.calls)
    ask(agent, ScriptedLM(acts(turn("send", to="SECRET"))))
    assert len(judge.calls) == 2 * once
    assert post.sent == []


def test_the_module_stays_what_it_was() -> None:
    """Its class, predictors, prompts and state, so it is compiled, saved and loaded as before; the one given, too."""
    post = Post()
    agent = agent_of(post)
    guarded = guard_agent(agent, program=program())
    assert isinstance(guarded, dspy.ReAct)
    assert type(guarded).__name__ == "ReAct"
    assert [name for name, _ in guarded.named_predictors()] == [name for name, _ in agent.named_predictors()]
    assert guarded.dump_state() == agent.dump_state()
    assert guarded.react.signature.instructions == agent.react.signature.instructions
    agent.tools["send"](to="SECRET")
    assert len(post.sent) == 1
    for copied in (guarded.deepcopy(), cloudpickle.loads(cloudpickle.dumps(guarded))):
        assert "did not run" in copied.tools["send"](to="SECRET")
    assert len(post.sent) == 1


def test_a_program_around_a_guarded_agent_reviews_its_answer_too() -> None:
    """Calls before they run, the answer before it is shown; the one's review is no part of the other's draft."""
    post = Post()
    lm = ScriptedLM(by_stage(acts(turn("send", to="SECRET")), gate=gate, critique=FINDING, revise='{"to": "SECRET"}'))
    outcome = Conscience(guard_agent(agent_of(post), program=Conscience(lm=lm)), lm=lm)(question="Write to Ann.")
    assert (outcome.status, outcome.answer) == ("clean", "Done.")
    assert "did not run" in str(outcome.trajectory)
    assert "WRITE THIS" not in str(outcome.draft)
    assert post.sent == []


async def test_a_streamed_agent_shows_nothing_of_its_reviews() -> None:
    """Not a call, let alone one that was refused or revised; ``send_stream`` is what ``dspy.streamify`` sets."""
    post = Post()
    tool = guard(dspy.Tool(post.send), program=program(reviewer('{"to": "nobody"}')))
    sending, receiving = anyio.create_memory_object_stream[Any](100)
    async with sending, receiving:
        with dspy.context(send_stream=sending):
            await tool.acall(to="SECRET")
            await tool.acall(to="Ann")
        assert receiving.statistics().current_buffer_used == 0
    assert [to for to, _ in post.sent] == ["nobody", "Ann"]


def test_an_agent_inside_an_agent_is_judged_by_both_requests() -> None:
    """Whoever hands a task on cannot leave out what it is for."""
    post, judge = Post(), reviewer()
    inner = guard_agent(agent_of(post), program=program(judge))

    def helper(task: str) -> str:
        """Helps."""
        return str(inner(question=task).answer)

    outer = guard_agent(dspy.ReAct("question -> answer", tools=[helper]), program=program(judge))

    inner_acts, outer_acts = acts(turn("send", to="SECRET")), acts(turn("helper", task="Post a note."))

    def script(messages: Any, params: Any) -> str:
        return str((inner_acts if "Post a note.\n" in messages[-1]["content"][:60] else outer_acts)(messages, params))

    ask(outer, ScriptedLM(script))
    asked = next(messages for messages, _ in judge.calls if is_gate(messages) and "SECRET" in judged(messages))
    assert "Write to Ann." in str(asked)
    assert "Post a note." in str(asked)
    assert post.sent == []


def test_a_tool_that_has_a_guard_keeps_it() -> None:
    """One review a call; the agent's question is its conversation all the same."""
    post, judge, other = Post(), reviewer(), reviewer()
    agent = guard_agent(
        dspy.ReAct("question -> answer", tools=[guard(post.send, program=program(judge))]), program=program(other)
    )
    ask(agent, ScriptedLM(acts(turn("send", to="SECRET"))))
    assert other.calls == []
    assert "Write to Ann." in str(judge.calls)
    assert post.sent == []


def test_every_tool_of_every_module_is_guarded() -> None:
    """Sub-modules, ReActV2, RLM."""
    ran: list[str] = []

    def wipe(target: str) -> str:
        """Wipes."""
        ran.append(target)
        return "wiped"

    class Two(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [dspy.ReAct("a -> b", tools=[wipe]), dspy.ReActV2("a -> b", tools=[wipe])]
            self.code = dspy.RLM("a -> b", tools=[wipe])

        def forward(self, a: str) -> None: ...

    guarded = guard_agent(Two(), program=program(max_revisions=0))
    tools = [guarded.parts[0].tools["wipe"], guarded.parts[1].tools["wipe"], guarded.code.tools["wipe"]]
    assert all("did not run" in tool(target="SECRET") for tool in tools)
    assert ran == []
    assert guarded.parts[1].tools["submit"](b="x") == {"b": "x"}


def looked_up(word: str) -> str:
    """Looks a word up."""
    return word


@pytest.mark.parametrize(
    "agent",
    [dspy.Predict("a -> b"), dspy.ReAct("a -> b", tools=[]), dspy.CodeAct("a -> b", tools=[looked_up]), print],
)
def test_what_cannot_be_guarded_is_refused(agent: Any) -> None:
    """Without tools there is nothing to guard; code in a sandbox runs past any guard."""
    with pytest.raises(ConfigurationError):
        guard_agent(agent, program=program())
