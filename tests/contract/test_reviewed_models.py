"""Reviewed models around the frameworks' own OpenAI models, over the wire: chat and Responses, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from conscience import Backend, Conscience
from tests.support import wires
from tests.support.loopback import Body, Loopback, Raw, chat, is_revision, well_behaved

pytestmark = pytest.mark.long  # by what it imports

BAD, MENDED = "BADWORD", "A clean answer."


class Person(BaseModel):
    name: str


def upstream(body: Body, number: int) -> Body | Raw:
    """A model that is reviewed, and the one that reviews it."""
    said = json.dumps([body.get("messages"), body.get("input")])
    if body["model"] == "judge":
        return chat('{"name": "Jo"}') if is_revision(body) and "PERSON" in said else well_behaved(body, number)
    bad = "UNSAFE" in said
    if "PERSON" in said:
        return wires.answer(body, json.dumps({"name": BAD if bad else "Kim"}))
    call = {"what": BAD if bad else "help"} if "CALL" in said and "Done." not in said else None
    return wires.answer(body, f"Well, {BAD}, do it." if bad and "Done." not in said else "Paris is nice.", call)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Loopback(upstream) as server:
        yield server.url


@pytest.fixture
def program(url: str) -> Conscience:
    lm = Backend("openai/judge", api_base=url, api_key="sk-test-secret-0123", cache=False)
    return Conscience(lm=lm)


async def test_langchain(url: str, program: Conscience) -> None:
    """ChatOpenAI by both of its APIs, on one loop, as it keeps its connections: text, streams, tools, objects by schema."""
    from langchain_openai import ChatOpenAI

    from conscience.integrations.langchain import ReviewedChatModel

    for responses in (False, True):
        key = SecretStr("sk-test-secret-0123")
        inner = ChatOpenAI(model="fake", base_url=url, api_key=key, max_retries=0, use_responses_api=responses)
        model = ReviewedChatModel(model=inner, program=program)
        assert model.invoke("Hello?").text == "Paris is nice."
        revised = await model.ainvoke("UNSAFE")
        assert (revised.text, BAD in repr(revised)) == (MENDED, False)
        assert revised.usage_metadata is not None
        assert revised.usage_metadata["total_tokens"] == 10
        pieces = [piece async for piece in model.astream("UNSAFE")]
        assert "".join(piece.text for piece in pieces) == MENDED
        bound = model.bind_tools([wires.TOOL])
        assert (await bound.ainvoke("CALL")).tool_calls[0]["args"] == {"what": "help"}
        assert BAD not in repr(await bound.ainvoke("CALL UNSAFE"))
        structured = model.with_structured_output(Person, method="json_schema")
        assert structured.invoke("PERSON") == Person(name="Kim")
        assert structured.invoke("UNSAFE PERSON") == Person(name="Jo")


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
async def test_pydantic_ai(url: str, program: Conscience, responses: bool) -> None:
    """Both of its OpenAI models: runs, streams, tools."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from conscience.integrations.pydantic_ai import ReviewedModel

    kind = OpenAIResponsesModel if responses else OpenAIChatModel
    inner = kind("fake", provider=OpenAIProvider(base_url=url, api_key="sk-test-secret-0123"))
    done: list[str] = []

    def act(what: str) -> str:
        done.append(what)
        return "Done."

    agent = Agent(ReviewedModel(inner, program), tools=[act])
    assert (await agent.run("Hello?")).output == "Paris is nice."
    assert (await agent.run("UNSAFE")).output == MENDED
    async with agent.run_stream("UNSAFE") as stream:
        assert "".join([text async for text in stream.stream_text(delta=True)]) == MENDED
    assert (await agent.run("CALL")).output == "Paris is nice."
    assert BAD not in repr((await agent.run("CALL UNSAFE")).all_messages())
    assert done == ["help"]


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
async def test_openai_agents(url: str, program: Conscience, responses: bool) -> None:
    """Both of its models: runs, streams, tools."""
    from agents import (
        Agent,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    from conscience.integrations.openai_agents import ReviewedModel

    set_tracing_disabled(True)
    kind: Any = OpenAIResponsesModel if responses else OpenAIChatCompletionsModel
    inner = kind("fake", AsyncOpenAI(base_url=url, api_key="sk-test-secret-0123", max_retries=0))
    done: list[str] = []

    @function_tool
    def act(what: str) -> str:
        """Acts."""
        done.append(what)
        return "Done."

    agent = Agent(name="a", model=ReviewedModel(inner, program), tools=[act])
    assert (await Runner.run(agent, "Hello?")).final_output == "Paris is nice."
    assert (await Runner.run(agent, "UNSAFE")).final_output == MENDED
    for asked, expected in [("Hello?", "Paris is nice."), ("UNSAFE", MENDED)]:
        result = Runner.run_streamed(agent, asked)
        events = [event.data async for event in result.stream_events() if event.type == "raw_response_event"]
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert ("".join(deltas), result.final_output) == (expected, expected)
        assert BAD not in repr(events)
    assert (await Runner.run(agent, "CALL")).final_output == "Paris is nice."
    assert BAD not in repr((await Runner.run(agent, "CALL UNSAFE")).to_input_list())
    assert done == ["help"]
