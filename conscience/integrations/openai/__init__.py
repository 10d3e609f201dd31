"""The openai package's own clients, with a conscience.

    from conscience.integrations.openai import OpenAI

    client = OpenAI(program="program.json")
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello?"}])
    print(reply.choices[0].message.content, reply.conscience.status)

Generation goes out as it always did: by the package, over the client's own connections, with its retries and hooks. What
comes back is reviewed by the program before the caller sees any of it, and revised or refused where it must be.
"""

from conscience.integrations.openai.clients import AsyncAzureOpenAI as AsyncAzureOpenAI
from conscience.integrations.openai.clients import AsyncOpenAI as AsyncOpenAI
from conscience.integrations.openai.clients import AzureOpenAI as AzureOpenAI
from conscience.integrations.openai.clients import OpenAI as OpenAI
from conscience.integrations.openai.report import Report as Report
from conscience.integrations.openai.report import report_of as report_of
