"""Provider batch files: a run's questions, sent as files and answered within a day, at half the price.

posting.py    one case on its way: it runs until it asks what no batch has answered yet
outbox.py     what the cases of a run wait for, and the replies that came, on disk
inputs.py     the questions of one model as files within the provider's limits
jobs.py       a batch's state on disk, from its file to its last reply
endpoint.py   the provider's files and batches
sending.py    files sent, each once, whatever becomes of the connection
polling.py    batches watched to their end, and their replies taken
"""
