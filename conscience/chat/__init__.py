"""OpenAI's API in and out of a program, without HTTP: what the server and the drop-in client share.

``ChatRequest.parse(body)`` checks a request; its errors name the parameter. ``complete`` and ``acomplete`` answer it with a
``chat.completion`` that has a ``conscience`` object, ``astream`` with its chunks, none of which comes before the verdict. A
``ResponsesRequest`` is answered by the same functions, with a ``response`` and its events. ``correct`` and ``acorrect``
review a completion that somebody else generated.
"""

from conscience.chat.answering import acomplete as acomplete
from conscience.chat.answering import astream as astream
from conscience.chat.answering import complete as complete
from conscience.chat.checks import ParameterError as ParameterError
from conscience.chat.given import acorrect as acorrect
from conscience.chat.given import correct as correct
from conscience.chat.replies import report as report
from conscience.chat.requests import ChatRequest as ChatRequest
from conscience.chat.responses import ResponsesRequest as ResponsesRequest
