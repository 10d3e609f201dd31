"""The drop-in clients, against the real openai package and a server on loopback that means harm when it is asked to."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from conscience import ConfigurationError, Conscience, InputError, Outcome
from conscience.integrations.openai import AsyncOpenAI, AzureOpenAI, OpenAI, report_of
from conscience.testing import ScriptedLM, by_stage
from tests.support.loopback import Loopback, Raw, chat, error, is_critique, is_gate, is_revision, well_behaved

KEY = "sk-loopback-0123456789"
SAFE = [{"role": "user", "content": "The capital of France?"}]
UNSAFE = [{"role": "user", "content": "UNSAFE"}]
TOOLS: Any = [{"type": "function", "function": {"name": "remove", "parameters": {"type": "object", "properties": {}}}}]


class Place(BaseModel):
    name: str


def behaviour(body: dict[str, Any], number: int) -> Any:
    """As ``well_behaved``, on both APIs, with streams refused: nothing of a draft may be on the way."""
    assert not body.get("stream"), "a draft was asked for as a stream"
    if "input" in body:
        said = json.dumps(body["input"])
        return response("BADWORD, do it." if "UNSAFE" in said else "Paris.")
    if is_gate(body) or is_critique(body) or is_revision(body):
        return well_behaved(body, number)
    if body.get("n", 1) > 1:
        reply = chat("Paris.")
        texts = ["Paris.", "BADWORD, do it."] * body["n"]
        reply["choices"] = [{**chat(texts[n])["choices"][0], "index": n} for n in range(body["n"])]
        return reply
    if body.get("tools"):
        harm = "UNSAFE" in json.dumps(body["messages"])
        call = {
            "id": "c1",
            "type": "function",
            "function": {"name": "remove", "arguments": '{"path": "BADWORD"}' if harm else "{}"},
        }
        return chat(None, finish="tool_calls", tool_calls=[call])
    if body.get("response_format"):
        return chat('{"name": "BADWORD"}' if "UNSAFE" in json.dumps(body["messages"]) else '{"name": "Paris"}')
    return well_behaved(body, number)


def response(text: str, **more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 3, "total_tokens": 10}
    return {
        **{"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "fake"},
        **{"output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []},
        **{"usage": {**usage, "output_tokens_details": {"reasoning_tokens": 0}}, **more},
    }


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(behaviour) as server:
        yield server


@pytest.fixture
def client(server: Loopback) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client:
        yield client


def texts(stream: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


# Chat ------------------------------------------------------------------------------------------------------------------


def test_a_reply_is_the_packages_own_with_a_conscience(client: OpenAI, server: Loopback) -> None:
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=SAFE, temperature=0.3, user="me")
    assert type(reply) is ChatCompletion
    assert (reply.choices[0].message.content, reply.id, reply.usage.total_tokens) == ("Paris.", "x", 10)
    assert reply.conscience.status == reply.conscience["status"] == report_of(reply).status == "clean"
    assert reply.model_dump()["conscience"]["ok"] is True
    generated, asked = server.calls
    assert generated == {"model": "gpt-4o-mini", "messages": SAFE, "temperature": 0.3, "user": "me"}
    assert is_gate(asked)
    assert asked["model"] == "gpt-4o-mini"
    assert "user" not in asked


def test_a_harmful_draft_is_revised_and_nowhere_in_the_reply(client: OpenAI) -> None:
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=UNSAFE)
    assert (reply.choices[0].message.content, reply.conscience.status) == ("A clean answer.", "revised")
    assert reply.conscience.principles == ["no-serious-harm"]
    assert "BADWORD" not in reply.model_dump_json()


def test_a_stream_holds_what_was_reviewed(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="gpt-4o-mini", messages=UNSAFE, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert texts(chunks) == "A clean answer."
    assert "BADWORD" not in str(chunks)
    assert chunks[-1].usage.total_tokens == 10
    assert chunks[0].conscience.status == chunks[-2].conscience.status == "revised"
    assert chunks[1].conscience is None


def test_the_packages_stream_helper_and_parse_work(client: OpenAI) -> None:
    with client.chat.completions.stream(model="gpt-4o-mini", messages=UNSAFE) as stream:
        assert "".join(event.delta for event in stream if event.type == "content.delta") == "A clean answer."
        final = stream.get_final_completion()
    assert (final.choices[0].message.content, final.conscience["status"]) == ("A clean answer.", "revised")
    parsed = client.chat.completions.parse(model="gpt-4o-mini", messages=SAFE, response_format=Place)
    assert parsed.choices[0].message.parsed == Place(name="Paris")
    assert parsed.conscience.status == "clean"


def test_a_structured_answer_that_is_refused_parses_to_a_refusal(server: Loopback) -> None:
    program = Conscience(max_revisions=0)
    with OpenAI(base_url=server.url, api_key=KEY, program=program) as client:
        message = client.chat.completions.parse(model="m", messages=UNSAFE, response_format=Place).choices[0].message
    assert message.parsed is None
    assert message.refusal == program.constitution.refusal


def test_each_of_several_answers_is_reviewed(client: OpenAI) -> None:
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=SAFE, n=3)
    assert [choice.message.content for choice in reply.choices] == ["Paris.", "A clean answer.", "Paris."]
    assert [choice.conscience.status for choice in reply.choices] == ["clean", "revised", "clean"]
    assert reply.conscience.status == "revised"


def test_a_call_of_a_tool_is_reviewed_before_the_caller_can_run_it(client: OpenAI, server: Loopback) -> None:
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=SAFE, tools=TOOLS)
    assert reply.choices[0].message.tool_calls[0].function.name == "remove"
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=UNSAFE, tools=TOOLS)
    assert reply.choices[0].message.tool_calls is None
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("A clean answer.", "stop")
    (revision,) = [call for call in server.calls if is_revision(call)]
    assert revision["tools"] == TOOLS
    assert all("tools" not in call for call in server.calls if is_gate(call) or is_critique(call))


def test_a_conversation_with_every_role_and_pictures_goes_as_it_is(client: OpenAI, server: Loopback) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages: Any = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "user", "content": "Sure?"},
    ]
    assert client.chat.completions.create(model="gpt-4o-mini", messages=messages).conscience.status == "clean"
    generated, gate = server.calls
    assert generated["messages"] == messages
    assert gate["messages"][:2] == messages[:2]


@pytest.mark.parametrize("release", ["hold", "window"])
def test_a_reply_goes_on_as_the_next_requests_turn(client: OpenAI, server: Loopback, release: Any) -> None:
    reply = client.chat.completions.create(model="m", messages=SAFE, tools=TOOLS)
    call = reply.choices[0].message.tool_calls[0]
    turns = [*SAFE, reply.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "done"}]
    server.calls.clear()
    if release == "window":
        server.behaviour = lambda body, number: sse("Paris.") if body.get("stream") else behaviour(body, number)
    list(client.with_options(release=release).chat.completions.create(model="m", messages=iter(turns), stream=True))
    sent = server.calls[0]["messages"]
    assert [turn["role"] for turn in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "remove", "arguments": "{}"}
    assert "conscience" not in json.dumps(sent)


def test_raw_and_streaming_responses_hold_what_was_reviewed(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=UNSAFE)
    assert "BADWORD" not in raw.text
    assert raw.parse().conscience.status == "revised"
    with client.chat.completions.with_streaming_response.create(model="gpt-4o-mini", messages=UNSAFE) as streaming:
        assert b"BADWORD" not in b"".join(streaming.iter_bytes())
    for path in ("/chat/completions", "chat/completions", "/chat/completions/?a=b", f"{client.base_url}chat/completions"):
        posted = client.post(path, cast_to=httpx2.Response, body={"model": "m", "messages": UNSAFE})
        assert "A clean answer." in posted.text
        assert "BADWORD" not in posted.text
    extra = client.chat.completions.create(model="m", messages=SAFE, extra_body={"messages": UNSAFE, "stream": False})
    assert extra.conscience.status == "revised"


# Responses -------------------------------------------------------------------------------------------------------------


def test_responses_are_reviewed(client: OpenAI, server: Loopback) -> None:
    reply = client.responses.create(model="gpt-4o-mini", input="The capital of France?", instructions="Be brief.")
    assert (reply.output_text, reply.conscience.status, reply.id) == ("Paris.", "clean", "resp_1")
    assert server.calls[1]["messages"][0] == {"role": "system", "content": "Be brief."}
    reply = client.responses.create(model="gpt-4o-mini", input="UNSAFE")
    assert (reply.output_text, reply.conscience.status) == ("A clean answer.", "revised")
    assert "BADWORD" not in reply.model_dump_json()


def test_streams_of_responses_hold_what_was_reviewed(client: OpenAI) -> None:
    events = list(client.responses.create(model="gpt-4o-mini", input="UNSAFE", stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "A clean answer."
    assert events[-1].response.conscience.status == "revised"
    with client.responses.stream(model="gpt-4o-mini", input="UNSAFE") as stream:
        assert stream.get_final_response().output_text == "A clean answer."
        assert "BADWORD" not in str(list(stream))


def test_thinking_and_calls_in_a_response_are_reviewed(server: Loopback) -> None:
    thought = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "BADWORD"}]}
    call = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "go", "arguments": '{"to": "BADWORD"}'}
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"query": "BADWORD"}}
    for item in (thought, call, search):
        reply = response("Paris.")
        reply["output"].insert(0, item)
        server.behaviour = lambda body, number, reply=reply: reply if "input" in body else well_behaved(body, number)
        with OpenAI(base_url=server.url, api_key=KEY) as client:
            got = client.responses.create(model="gpt-4o-mini", input="The capital?")
        assert got.conscience.status == "revised"
        assert "BADWORD" not in got.model_dump_json()


# Async -----------------------------------------------------------------------------------------------------------------


async def test_the_async_client_does_the_same_for_many_at_once(server: Loopback) -> None:
    async with AsyncOpenAI(base_url=server.url, api_key=KEY) as client:
        asked = [SAFE, UNSAFE] * 4
        replies = await asyncio.gather(*(client.chat.completions.create(model="m", messages=m) for m in asked))
        assert [reply.choices[0].message.content for reply in replies] == ["Paris.", "A clean answer."] * 4
        stream = await client.chat.completions.create(model="m", messages=UNSAFE, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "A clean answer."
        assert (await client.responses.create(model="m", input="UNSAFE")).output_text == "A clean answer."
        async with client.chat.completions.stream(model="m", messages=UNSAFE) as helper:
            assert (await helper.get_final_completion()).choices[0].message.content == "A clean answer."


# Windows ---------------------------------------------------------------------------------------------------------------


def sse(text: str, step: int = 7) -> Raw:
    """A text as a server streams it."""
    parts = [{"role": "assistant", "content": ""}, *({"content": text[n : n + step]} for n in range(0, len(text), step)), {}]
    lines = [
        {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "fake",
         "choices": [{"index": 0, "delta": part, "finish_reason": None if part else "stop"}]}
        for part in parts
    ]  # fmt: skip
    body = "".join(f"data: {json.dumps(line)}\n\n" for line in lines)
    return Raw(text=f"{body}data: [DONE]\n\n", content_type="text/event-stream")


GOOD = "Paris is the capital of France, and has been for a long time. It lies on the river Seine in the north. "
HARMFUL = f"{GOOD}{GOOD}{GOOD}BADWORD is what comes next, and then some more of it. {GOOD}"


@pytest.fixture
def streaming(server: Loopback) -> Loopback:
    """What a harmful answer is revised to goes on from what was released."""

    def behaviour(body: dict[str, Any], number: int) -> Any:
        if is_gate(body) or is_critique(body):
            harm = "BADWORD" in json.dumps(body["messages"][-2:])
            return chat("Yes" if harm else "No", yes=0.95 if harm else 0.05) if is_gate(body) else well_behaved(body, number)
        if not body.get("stream"):
            return chat("That is all.")
        return sse(HARMFUL if "UNSAFE" in json.dumps(body["messages"]) else GOOD * 3)

    server.behaviour = behaviour
    return server


def test_windows_release_what_passed_and_nothing_after_a_flag(streaming: Loopback) -> None:
    with OpenAI(base_url=streaming.url, api_key=KEY, release="window") as client:
        chunks = list(client.chat.completions.create(model="m", messages=SAFE, stream=True, user="me", seed=3))
        assert texts(chunks) == GOOD * 3
        assert chunks[-1].conscience.status == "clean"
        assert streaming.calls[0] | {"stream_options": None} == {
            **{"model": "m", "messages": SAFE, "user": "me", "seed": 3, "stream": True, "stream_options": None}
        }
        chunks = list(client.with_options(timeout=9).chat.completions.create(model="m", messages=UNSAFE, stream=True))
        assert texts(chunks).startswith(GOOD[:60])
        assert "BADWORD" not in str(chunks)
        assert chunks[-1].conscience.status in ("revised", "refused")
        with client.chat.completions.stream(model="m", messages=SAFE) as helper:
            assert helper.get_final_completion().choices[0].message.content == GOOD * 3
        raw = client.chat.completions.with_raw_response.create(model="m", messages=SAFE, stream=True)
        assert texts(raw.parse()) == GOOD * 3
        left = client.chat.completions.create(model="m", messages=SAFE, stream=True)
        next(iter(left))
        left.close()


async def test_windows_of_the_async_client(streaming: Loopback) -> None:
    async with AsyncOpenAI(base_url=streaming.url, api_key=KEY, release="window") as client:
        stream = await client.chat.completions.create(
            model="m", messages=SAFE, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert texts(chunks) == GOOD * 3
        assert chunks[-1].usage is not None
        streams = [client.chat.completions.create(model="m", messages=m, stream=True) for m in (SAFE, UNSAFE) * 3]
        for number, opened in enumerate(await asyncio.gather(*streams)):
            got = [chunk async for chunk in opened]
            assert "BADWORD" not in str(got)
            assert texts(got) == GOOD * 3 or number % 2
        left = await client.chat.completions.create(model="m", messages=SAFE, stream=True)
        await anext(left)
        await left.close()


def test_what_fails_before_a_window_is_the_packages_own_error(server: Loopback) -> None:
    server.behaviour = lambda body, number: error(404, "no such model")
    with OpenAI(base_url=server.url, api_key=KEY, release="window") as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="m", messages=SAFE, stream=True)
    with pytest.raises(ConfigurationError, match="release="):
        OpenAI(api_key=KEY, release="now")  # type: ignore[arg-type]


# The client itself -----------------------------------------------------------------------------------------------------


def test_everything_goes_over_the_callers_own_connections(server: Loopback) -> None:
    sent: list[str] = []
    http = httpx2.Client(event_hooks={"request": [lambda request: sent.append(request.headers["authorization"])]})
    client = OpenAI(base_url=server.url, api_key=lambda: KEY, http_client=http)
    client.chat.completions.create(model="m", messages=UNSAFE)
    assert sent == [f"Bearer {KEY}"] * 5


@pytest.mark.parametrize("release", ["hold", "window"])
def test_the_callers_own_headers_and_query_go_with_the_review_too(streaming: Loopback, release: Any) -> None:
    with OpenAI(base_url=streaming.url, api_key=KEY, release=release) as client:
        options: Any = {"extra_headers": {"x-tenant": "a"}, "extra_query": {"v": "1"}}
        if release == "hold":
            streaming.behaviour = behaviour
        list(client.chat.completions.create(model="m", messages=UNSAFE, stream=True, **options))
        assert len(streaming.calls) > 3
        assert {headers.get("x-tenant") for headers in streaming.headers} == {"a"}
        assert {path.partition("?")[2] for path in streaming.paths} == {"v=1"}
        before = len(streaming.calls)
        list(client.chat.completions.create(model="m", messages=SAFE, stream=True))
        assert {headers.get("x-tenant") for headers in streaming.headers[before:]} == {None}


@pytest.mark.parametrize("package", [httpx, httpx2], ids=lambda package: package.__name__)
def test_connections_of_either_http_package_and_transports_of_a_test_are_used(package: Any) -> None:
    def answer(request: Any) -> Any:
        return package.Response(200, json=behaviour(json.loads(request.content), 1) | {"created": 10**30})

    http = package.Client(transport=package.MockTransport(answer))
    client = OpenAI(base_url="http://nowhere/v1", api_key=KEY, http_client=http)
    assert client.chat.completions.create(model="m", messages=UNSAFE).conscience.status == "revised"
    assert texts(client.chat.completions.create(model="m", messages=UNSAFE, stream=True)) == "A clean answer."


def test_copies_keep_the_program_or_take_another(client: OpenAI, server: Loopback) -> None:
    assert isinstance(client, openai.OpenAI)
    copied = client.with_options(timeout=9, default_headers={"x-a": "b"})
    assert type(copied) is OpenAI
    assert copied.timeout == 9
    assert copied.chat.completions.create(model="m", messages=UNSAFE).conscience.status == "revised"
    strict = client.copy(program=Conscience(max_revisions=0))
    assert strict.chat.completions.create(model="m", messages=UNSAFE).conscience.status == "refused"
    assert strict.with_options(timeout=3).chat.completions.create(model="m", messages=UNSAFE).conscience.status == "refused"


async def test_an_observing_program_alters_nothing_and_reviews_behind_the_answer(server: Loopback) -> None:
    seen: list[Outcome] = []
    told = asyncio.Event()

    async def tell(outcome: Outcome) -> None:
        seen.append(outcome)
        told.set()

    program = Conscience(mode="observe", on_outcome=tell)
    async with AsyncOpenAI(base_url=server.url, api_key=KEY, program=program) as client:
        reply = await client.chat.completions.create(model="m", messages=UNSAFE)
        assert reply.choices[0].message.content == "BADWORD, do it."
        assert (reply.conscience.status, reply.conscience.flagged) == ("observed", None)
        await asyncio.wait_for(told.wait(), 20)
    assert seen[0].status == "revised"


def test_a_program_with_models_of_its_own_asks_them(server: Loopback) -> None:
    judge = ScriptedLM(by_stage(gate=0.9, critique='{"findings": []}'))
    client = OpenAI(base_url=server.url, api_key=KEY, program=Conscience(lm={"review": judge}))
    assert client.chat.completions.create(model="m", messages=SAFE).conscience.status == "cleared"
    assert len(server.calls) == 1
    assert len(judge.calls) == 2


def test_a_programs_own_instructions_go_before_the_conversation(server: Loopback, tmp_path: Any) -> None:
    import dspy

    program = Conscience(dspy.Signature("question -> answer", "Answer in French."))
    program.save(tmp_path / "p.json")
    for given in (program, tmp_path / "p.json", str(tmp_path / "p.json")):
        OpenAI(base_url=server.url, api_key=KEY, program=given).chat.completions.create(model="m", messages=SAFE)
        assert server.calls[-2]["messages"] == [{"role": "system", "content": "Answer in French."}, *SAFE]


def test_what_is_no_program_for_a_chat_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="form of its own"):
        OpenAI(api_key=KEY, program=Conscience("documents, question -> answer"))
    with pytest.raises(ConfigurationError, match="program="):
        OpenAI(api_key=KEY, program=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/chat/completions", "/Chat/Completions"])
def test_a_path_as_a_gateway_may_read_it_is_reviewed(client: OpenAI, path: str) -> None:
    """Whoever writes it in other letters."""
    reply = client.post(path, body={"model": "m", "messages": UNSAFE}, cast_to=openai.types.chat.ChatCompletion)
    assert reply.conscience.status == "revised"  # type: ignore[attr-defined]


def test_azure_works_alike() -> None:
    with Loopback(behaviour) as server:
        client = AzureOpenAI(azure_endpoint=server.url, api_key=KEY, api_version="2024-10-21")
        reply = client.with_options(timeout=5).chat.completions.create(model="mine", messages=UNSAFE)
        assert reply.conscience.status == "revised"
        assert {path.partition("?")[0] for path in server.paths} == {"/v1/openai/deployments/mine/chat/completions"}


def test_other_resources_work_unchanged(client: OpenAI, server: Loopback) -> None:
    server.behaviour = lambda body, number: {
        "object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }  # fmt: skip
    assert client.embeddings.create(model="e", input="x", encoding_format="float").data[0].embedding == [0.1, 0.2]


@pytest.mark.parametrize(
    "use",
    [
        lambda c: c.completions.create(model="m", prompt="x"),
        lambda c: c.chat.completions.retrieve("x"),
        lambda c: c.responses.retrieve("x"),
        lambda c: c.responses.connect(),
        lambda c: c.realtime.connect(model="m"),
        lambda c: c.chat.completions.create(model="m", messages=SAFE, modalities=["text", "audio"]),
        lambda c: c.chat.completions.create(model="m", messages=SAFE, functions=[{"name": "f"}]),
        lambda c: c.chat.completions.create(model="m", messages=SAFE, stream_options={"include_usage": True}),
        lambda c: c.responses.create(model="m", input="x", background=True),
        lambda c: c.responses.create(model="m", input="x", previous_response_id="resp_1"),
        lambda c: c.responses.create(model="m", input="x", tools=[{"type": "image_generation"}]),
        lambda c: c.responses.create(model="m", input="x", tools=[{"type": "mcp", "require_approval": "never"}]),
    ],
)  # fmt: skip
def test_ways_past_the_review_are_closed_by_name(client: OpenAI, server: Loopback, use: Any) -> None:
    with pytest.raises((ConfigurationError, InputError)):
        use(client)
    assert server.calls == []


# Failure ---------------------------------------------------------------------------------------------------------------


def test_the_callers_errors_are_the_packages_own(server: Loopback) -> None:
    server.behaviour = lambda body, number: error(429, "slow down") if number < 3 else error(400, "no such model")
    client = OpenAI(base_url=server.url, api_key=KEY, max_retries=0)
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="m", messages=SAFE)
    with pytest.raises(openai.BadRequestError):
        client.with_options(max_retries=1).chat.completions.create(model="m", messages=SAFE)


@pytest.mark.parametrize("fault", [error(401, "no"), error(500, "down"), Raw(text="<html>"), Raw(text='{"choices": []}')])
def test_a_review_that_fails_is_no_verdict_and_shows_no_draft(server: Loopback, fault: Raw) -> None:
    generates = {"messages": UNSAFE}
    server.behaviour = lambda body, number: chat("BADWORD") if body["messages"] == generates["messages"] else fault
    client = OpenAI(base_url=server.url, api_key=KEY, program=Conscience(budget={"seconds": 2}))
    reply = client.chat.completions.create(model="m", messages=UNSAFE)
    assert (reply.conscience.status, reply.conscience.flagged) == ("unreviewed", None)
    assert reply.conscience.error
    assert "BADWORD" not in reply.model_dump_json()


@pytest.mark.parametrize("text", ["BADWORD", '{"error": "BADWORD"}', '["BADWORD"]', '{"choices": {"text": "BADWORD"}}', ""])
def test_a_reply_that_cannot_be_read_is_an_error_without_a_word_of_it(server: Loopback, text: str) -> None:
    server.behaviour = lambda body, number: Raw(text=text)
    with pytest.raises(openai.APIResponseValidationError) as caught:
        OpenAI(base_url=server.url, api_key=KEY).chat.completions.create(model="m", messages=SAFE)
    shown = f"{caught.value} {caught.value.body} {caught.value.response.text} {caught.value!r}"
    assert "BADWORD" not in shown


def test_a_reply_that_got_past_the_review_is_not_handed_on(client: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmet(self: Any, *, response: Any, **more: Any) -> Any:
        return openai.OpenAI._process_response(self, response=response, **more)

    monkeypatch.setattr(OpenAI, "_process_response", unmet)
    with pytest.raises(ConfigurationError, match="not reviewed"):
        client.chat.completions.create(model="m", messages=UNSAFE)


def test_the_report_can_be_copied_and_pickled(client: OpenAI) -> None:
    report = client.chat.completions.create(model="m", messages=SAFE).conscience
    assert pickle.loads(pickle.dumps(report)) == report
    with pytest.raises(AttributeError, match="no 'verdict'"):
        _ = report.verdict


@pytest.mark.long
async def test_frameworks_take_the_clients_as_their_own(server: Loopback) -> None:
    import agents
    from langchain_openai import ChatOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    said: list[Any] = []
    sync, client = OpenAI(base_url=server.url, api_key=KEY), AsyncOpenAI(base_url=server.url, api_key=KEY)
    chat_model = ChatOpenAI(
        model="m", api_key=KEY, client=sync.chat.completions, async_client=client.chat.completions, root_client=sync
    )
    said += [chat_model.invoke("UNSAFE").content, (await chat_model.ainvoke("UNSAFE")).content]
    said.append("".join(str(chunk.content) for chunk in chat_model.stream("UNSAFE")))
    for model in (OpenAIChatModel, OpenAIResponsesModel):
        agent = Agent(model("m", provider=OpenAIProvider(openai_client=client)))
        said.append((await agent.run("UNSAFE")).output)
        async with agent.run_stream("UNSAFE") as stream:
            said.append(await stream.get_output())
    agents.set_tracing_disabled(True)
    for runs in (agents.OpenAIChatCompletionsModel, agents.OpenAIResponsesModel):
        runner = agents.Agent(name="a", model=runs("m", client))
        said.append((await agents.Runner.run(runner, "UNSAFE")).final_output)
        streamed = agents.Runner.run_streamed(runner, "UNSAFE")
        async for _ in streamed.stream_events():
            pass
        said.append(streamed.final_output)
    assert said == ["A clean answer."] * len(said)
    await client.close()
