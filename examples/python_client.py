"""A minute with the official Python client: three questions in one batch.

pip install openai; batchmill serve; then run this. BATCHMILL_SERVER_URL and MODEL
name another server and another model.
"""

import json
import os
import time

from openai import OpenAI

MODEL = os.environ.get("MODEL", "smollm2-135m-instruct")
QUESTIONS = ["What is 2+2?", "Name a colour.", "Who wrote Hamlet?"]

client = OpenAI(
    base_url=os.environ.get("BATCHMILL_SERVER_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ.get("BATCHMILL_API_KEY", "unused"),
)


def request(number: int, question: str) -> str:
    """One line of the input file."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 40}
    line = {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line) + "\n"


lines = "".join(request(number, question) for number, question in enumerate(QUESTIONS))
file = client.files.create(file=("questions.jsonl", lines.encode()), purpose="batch")
batch = client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
)
print(f"{batch.id} of {len(QUESTIONS)} questions")

while batch.status not in {"completed", "failed", "expired", "cancelled"}:
    time.sleep(1)
    batch = client.batches.retrieve(batch.id)
print(batch.status)

for fault in (batch.errors and batch.errors.data) or []:
    print(f"line {fault.line}: {fault.message}")
if batch.output_file_id:
    # Split at newlines alone: splitlines() would also split inside of an answer.
    for line in client.files.content(batch.output_file_id).content.strip().split(b"\n"):
        result = json.loads(line)
        answer = result["response"]["body"]["choices"][0]["message"]["content"]
        print(f"{QUESTIONS[int(result['custom_id'])]} {answer.strip()}")
if batch.error_file_id:
    print(client.files.content(batch.error_file_id).text)
