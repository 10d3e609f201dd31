"""LangChain's own package around a program, and a program around its chat models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from conscience import ConfigurationError, Conscience
from conscience.integrations.langchain import ConscienceRunnable, ReviewedChatModel
from conscience.integrations.tools import conversation, guard
from tests.unit.integrations.reviewers import BAD, DOWN, MENDED, REFUSED, mends, program, scripted


class Person(BaseModel):
    """A person."""

    name: str


class Model(GenericFakeChatModel):
    """A chat model that says what it is told to, and takes tools."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)


def reviewed(*said: Any, judge: Conscience | None = None) -> ReviewedChatModel:
    return ReviewedChatModel(model=Model(messages=iter(said)), program=judge or program())


def calls(name: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "Person", "args": {"name": name}, "id": "call_1"}])


def test_a_program_in_a_chain() -> None:
    """After a prompt, whose turns it is asked with, and before a parser; each way to call it says the same."""
    lm = scripted()
    prompt = ChatPromptTemplate.from_messages([("system", "Be {how}."), ("human", "{question}")])
    chain = prompt | ConscienceRunnable(program(lm=lm)) | StrOutputParser()
    given = {"how": "kind", "question": "Hello?"}
    assert chain.invoke(given) == "An answer."
    assert lm.calls[0][0] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]
    assert list(chain.stream(given)) == ["An ", "answer.", ""]
    assert chain.batch([given, given]) == ["An answer."] * 2

    async def streamed() -> list[str]:
        return [piece async for piece in chain.astream(given)]

    assert asyncio.run(chain.ainvoke(given)) == "An answer."
    assert "".join(asyncio.run(streamed())) == "An answer."


def test_a_program_says_how_its_review_ended() -> None:
    """With the tokens of all that it asked."""
    message = ConscienceRunnable(program(lm=scripted(generate=f"Say {BAD}."))).invoke("Hello?")
    assert (message.content, message.response_metadata["conscience"]["status"]) == (MENDED, "revised")
    assert message.response_metadata["conscience"]["outputs"] == {"response": MENDED}
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] > 100
    assert BAD not in repr(message)


@pytest.mark.parametrize("release", ["hold", "window"])
def test_a_streamed_program_adds_up_to_its_outcome(release: Any) -> None:
    """Sync and async, held or in windows, with what is known of the outcome at the end."""
    said = "One is fine. Two is fine too. Three will do as well, and it goes on for a while."
    for draft, status in [(said, "clean"), (f"{said} Then {BAD}. And more.", "revised")]:
        chain = ConscienceRunnable(program(lm=scripted(generate=draft)), release=release)

        async def pieces(chain: ConscienceRunnable = chain) -> list[Any]:
            return [piece async for piece in chain.astream("Count.")]

        for seen in (list(chain.stream("Count.")), asyncio.run(pieces())):
            whole = seen[0]
            for piece in seen[1:]:
                whole += piece
            assert BAD not in repr(seen)
            assert len(seen) > 2
            assert whole.response_metadata["conscience"]["status"] == status
            assert whole.response_metadata["conscience"]["outputs"]["response"] == whole.content


async def test_a_stream_may_be_left_and_sync_calls_run_on_a_loop() -> None:
    """Without a word of complaint."""
    async for _ in ConscienceRunnable(program(), release="window").astream("Hello?"):
        break
    for _ in ConscienceRunnable(program(), release="window").stream("Hello?"):
        break
    assert ConscienceRunnable(program()).invoke("Hello?").content == "An answer."
    assert reviewed("Fine.").invoke("Hello?").content == "Fine."


def test_the_events_of_a_chain_tell_each_piece() -> None:
    """As they are released."""

    async def seen() -> list[Any]:
        return [event async for event in ConscienceRunnable(program()).astream_events("Hello?")]

    events = asyncio.run(seen())
    assert [event["event"] for event in events] == ["on_chain_start", *["on_chain_stream"] * 3, "on_chain_end"]


def test_a_mapping_holds_inputs_by_name() -> None:
    """Of a program with several."""
    written = "[[ ## answer ## ]]\nTea.\n\n[[ ## completed ## ]]"
    several = Conscience("documents, question -> answer", lm=scripted(generate=written))
    message = ConscienceRunnable(several).invoke({"documents": "Tea is a plant.", "question": "What?"})
    assert message.response_metadata["conscience"]["outputs"] == {"answer": "Tea."}


def test_a_chain_inside_a_program_tells_no_callback_outside() -> None:
    """``astream_events`` of the outer chain shows no draft."""
    inner = ChatPromptTemplate.from_messages([("human", "{question}")]) | Model(messages=iter([f"One {BAD}."] * 2))
    outer = ConscienceRunnable(Conscience(inner, lm={"review": scripted(), "revise": scripted()})) | StrOutputParser()

    async def seen() -> list[Any]:
        return [event async for event in outer.astream_events({"question": "Hello?"})]

    events = asyncio.run(seen())
    assert BAD not in repr(events)
    assert MENDED in repr(events[-1])


def test_a_reviewed_model_changes_nothing_that_passes() -> None:
    """Not its id, usage or metadata."""
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    about = {"model_name": "m", "logprobs": {"content": []}}
    said = AIMessage("Fine.", id="run-1", usage_metadata=usage, response_metadata=about)
    message = reviewed(said).invoke("Hello?")
    assert message.response_metadata.pop("conscience")["status"] == "clean"
    assert message == said


def test_a_reviewed_model_keeps_what_is_true_of_a_revision() -> None:
    """The usage of the call; not the log-probabilities, thoughts and whatever else is about the draft."""
    said = AIMessage(
        [{"type": "thinking", "thinking": f"Why not {BAD}?", "signature": "s"}, {"type": "text", "text": f"Say {BAD}."}],
        additional_kwargs={"reasoning_content": BAD},
        usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        response_metadata={"model_name": "m", "logprobs": {"content": [{"token": BAD}]}},
    )
    message = reviewed(said).invoke("Hello?")
    assert (message.content, message.usage_metadata) == (MENDED, said.usage_metadata)
    assert message.response_metadata["model_name"] == "m"
    assert BAD not in repr(message)


@pytest.mark.parametrize(
    "said",
    [
        AIMessage([{"type": "text", "text": f"Say {BAD}."}]),
        AIMessage([{"type": "text", "text": "Fine.", "annotations": [{"title": BAD}]}]),
        AIMessage([{"type": "thinking", "thinking": BAD}, {"type": "text", "text": "Fine."}]),
        AIMessage([{"type": "server_tool_use", "name": "search", "input": {"query": BAD}}, "Fine."]),
        AIMessage("Fine.", additional_kwargs={"reasoning_content": BAD}),
        AIMessage("Fine.", additional_kwargs={"reasoning": {"summary": [{"type": "summary_text", "text": BAD}]}}),
        AIMessage("Fine.", additional_kwargs={"reasoning_details": [{"text": BAD}], "thinking": "Calm."}),
        AIMessage("Fine.", additional_kwargs={"citations": [{"title": BAD}]}),
        AIMessage("Fine.", response_metadata={"logprobs": {"content": [{"token": BAD}, {"token": "Fine."}]}}),
        AIMessage("", additional_kwargs={"audio": {"transcript": BAD}}),
        AIMessage("", additional_kwargs={"function_call": {"name": "act", "arguments": f'{{"what": "{BAD}"}}'}}),
        AIMessage("", invalid_tool_calls=[{"name": "act", "args": f"{{{BAD}", "id": "1", "error": None}]),
        calls(BAD),
    ],
)
def test_all_that_a_message_says_is_reviewed(said: AIMessage) -> None:
    """Wherever a provider's package puts it."""
    message = reviewed(said, judge=program(max_revisions=0)).invoke("Hello?")
    assert BAD not in repr(message)
    assert REFUSED in message.content
    assert not message.tool_calls


def test_tools_are_bound_by_the_model_and_their_calls_reviewed() -> None:
    """Names and arguments, in the light of the tools' results."""
    lm = scripted(mends(call="Person", name="Jo"))
    bound = reviewed(calls("Kim"), calls(BAD), judge=program(lm=lm)).bind_tools([Person])
    assert bound.invoke("Who?").tool_calls == calls("Kim").tool_calls
    asked = [HumanMessage("Who?"), calls("Kim"), ToolMessage("Not Kim.", tool_call_id="call_1")]
    assert asyncio.run(bound.ainvoke(asked)).tool_calls == calls("Jo").tool_calls
    assert "Not Kim." in repr(lm.calls[1])


def test_a_message_of_another_class_and_broken_calls_are_read() -> None:
    """A model may answer with a ChatMessage; what cannot be stored leaves a call."""
    from langchain_core.messages import ChatMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Odd(Model):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=ChatMessage(f"Say {BAD}.", role="assistant"))])

    odd = ReviewedChatModel(model=Odd(messages=iter(())), program=program())
    assert odd.invoke("Hello?").content == MENDED
    broken = AIMessage("Fi\0ne.", invalid_tool_calls=[{"name": "act", "args": "{", "id": "1", "error": None}])
    assert reviewed(broken).invoke("Hello?").content == "Fine."


def test_a_conversation_that_langchain_itself_cannot_convert_is_read_all_the_same() -> None:
    """As texts."""
    lm = scripted()
    odd = HumanMessage([{"type": "text", "text": "Look."}, {"type": "image"}, {"type": "file", "file": {"x": 1}}])
    assert reviewed("Fine.", judge=program(lm=lm)).invoke([odd]).content == "Fine."
    assert "Look." in repr(lm.calls[0])


def test_structured_output_is_of_what_was_reviewed() -> None:
    """As an object, and with the raw message beside it; a refusal is no object."""
    judge = program(mends(call="Person", name="Jo"))
    assert reviewed(calls("Kim"), judge=judge).with_structured_output(Person).invoke("Who?") == Person(name="Kim")
    assert reviewed(calls(BAD), judge=judge).with_structured_output(Person).invoke("Who?") == Person(name="Jo")
    raw = reviewed(calls(BAD), judge=judge).with_structured_output(Person, include_raw=True).invoke("Who?")
    assert (raw["parsed"], raw["parsing_error"]) == (Person(name="Jo"), None)
    assert BAD not in repr(raw)
    closed = program(max_revisions=0)
    raw = reviewed(calls(BAD), judge=closed).with_structured_output(Person, include_raw=True).invoke("Who?")
    assert raw["parsed"] is None
    assert REFUSED in raw["raw"].content


def test_a_model_that_hides_in_its_own_chain_is_not_left_unreviewed() -> None:
    """Where the wrapped model cannot be found, that is told at once."""

    class Hidden(Model):
        def with_structured_output(self, schema: Any = None, **kwargs: Any) -> Runnable[Any, Any]:
            return RunnableLambda(lambda given: self.invoke(given))

    with pytest.raises(ConfigurationError, match="not found"):
        ReviewedChatModel(model=Hidden(messages=iter(())), program=program()).with_structured_output(Person)


def test_an_object_that_the_model_parsed_is_parsed_anew() -> None:
    """OpenAI's package reads it from the message; a revision's is another."""
    said = AIMessage(f'{{"name": "{BAD}"}}', additional_kwargs={"parsed": Person(name=BAD)})
    assert reviewed(said, judge=program('{"name": "Jo"}')).invoke("Who?").additional_kwargs == {"parsed": Person(name="Jo")}
    prose = reviewed(said, judge=program("I will not.")).invoke("Who?").additional_kwargs
    assert prose == {"refusal": "I will not."}


class Recorder(BaseCallbackHandler):
    """What callbacks hear."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.heard.append(repr((token, kwargs.get("chunk"))))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.heard.append(repr(response))


def test_callbacks_and_streams_see_one_model_and_no_draft() -> None:
    """Neither tokens nor the end of the wrapped one; the pieces add up to the message."""
    recorder = Recorder()
    pieces = list(reviewed(f"One {BAD} two.").stream("Hello?", config={"callbacks": [recorder]}))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert isinstance(whole, AIMessageChunk)
    assert (whole.content, whole.response_metadata["conscience"]["status"]) == (MENDED, "revised")
    assert len(pieces) == 4
    assert BAD not in "".join(recorder.heard)

    async def events() -> list[Any]:
        chain = RunnableLambda(lambda text: text) | reviewed(f"One {BAD} two.")
        return [event async for event in chain.astream_events("Hello?")]

    seen = asyncio.run(events())
    assert BAD not in repr(seen)
    assert sum(event["event"] == "on_chat_model_start" for event in seen) == 1


def test_calls_are_streamed_whole() -> None:
    """As chunks that add up to the call."""
    first, *rest = reviewed(calls("Kim")).bind_tools([Person]).stream("Who?")
    for piece in rest:
        first += piece
    assert first.tool_calls == calls("Kim").tool_calls


def test_an_outage_of_the_reviewer_shows_nothing() -> None:
    """And is told as what it is."""
    message = reviewed("Fine.", judge=program(gate=DOWN)).invoke("Hello?")
    assert "Fine" not in repr(message)
    told = message.response_metadata["conscience"]
    assert (told["status"], told["flagged"]) == ("unreviewed", None)


def test_verdicts_are_not_kept_by_langchain() -> None:
    """Its cache does not know the program."""
    from langchain_core.caches import InMemoryCache
    from langchain_core.globals import get_llm_cache, set_llm_cache

    before = get_llm_cache()
    set_llm_cache(InMemoryCache())
    try:
        lm = scripted()
        model = reviewed("Fine.", "Fine.", judge=program(lm=lm))
        model.invoke("Hello?")
        model.invoke("Hello?")
        assert sum("Fine." in repr(messages) for messages, _ in lm.calls) >= 1
        assert len(lm.calls) == 2
    finally:
        set_llm_cache(before)


async def test_a_guarded_function_makes_the_same_tool() -> None:
    """The same schema, without the configuration; the model's message gets the reason, in threads of LangChain's too."""
    sent = []
    lm = scripted("{}")

    def send(to: str, config: RunnableConfig, copies: int = 1) -> str:
        """Sends a mail."""
        sent.append((to, config["metadata"]["key"]))
        return f"sent to {to}"

    send.__annotations__["config"] = RunnableConfig
    plain, guarded = tool(send), tool(guard(send, program=program(lm=lm)))
    assert (guarded.name, guarded.description, guarded.args) == (plain.name, plain.description, plain.args)
    config: RunnableConfig = {"metadata": {"key": "hunter2-hunter2"}}
    with conversation("Write to Ann."):
        asked = {"type": "tool_call", "name": "send", "id": "1", "args": {"to": BAD}}
        assert "did not run" in (await guarded.ainvoke(asked, config)).content
        assert await guarded.ainvoke({"to": "Ann"}, config) == "sent to Ann"
    assert sent == [("Ann", "hunter2-hunter2")]
    assert all("Write to Ann." in str(messages) for messages, _ in lm.calls)
    assert "hunter2" not in str(lm.calls)
    with pytest.raises(ConfigurationError, match="guard the function"):
        guard(plain, program=program())
