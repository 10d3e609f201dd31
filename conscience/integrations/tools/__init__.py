"""Tools whose calls are reviewed before they run.

    from conscience import Conscience
    from conscience.integrations.tools import conversation, guard, guard_agent

    send = guard(send_mail, program=program)  # a function, a method, a dspy.Tool; or @guard(program=program)
    agent = guard_agent(dspy.ReAct("question -> answer", tools=[send_mail]), program=program)

    with conversation(messages):  # what the calls are judged in the light of; guard_agent enters it by itself
        run_my_agent(messages)

docs/tools.md says what is reviewed, and what a model is told.
"""

from conscience.integrations.tools.agents import guard_agent
from conscience.integrations.tools.conversations import conversation
from conscience.integrations.tools.guarded import guard

__all__ = ["conversation", "guard", "guard_agent"]
