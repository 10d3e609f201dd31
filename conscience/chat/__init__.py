"""OpenAI's API in and out of a program, without HTTP: what the server and the drop-in client share.

request = ChatRequest.parse(body)              # InputError names the parameter
body = await acomplete(program, request)       # a chat.completion with a ``conscience`` object
async for chunk in astream(program, request):  # chat.completion.chunk objects; nothing before the verdict
    ...
"""

from conscience.chat.answering import acomplete as acomplete
from conscience.chat.answering import astream as astream
from conscience.chat.answering import complete as complete
from conscience.chat.checks import ParameterError as ParameterError
from conscience.chat.replies import report as report
from conscience.chat.requests import ChatRequest as ChatRequest
from conscience.chat.responses import ResponsesRequest as ResponsesRequest
