"""Be told when a batch has ended, instead of asking again and again.

pip install openai; set webhooks.allow_private = true, for the receiver is on this machine;
batchmill serve; then run this. BATCHMILL_SERVER_URL and MODEL name another server and model.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from threading import Thread

from openai import InvalidWebhookSignatureError, OpenAI

MODEL = os.environ.get("MODEL", "smollm2-135m-instruct")

client = OpenAI(
    base_url=os.environ.get("BATCHMILL_SERVER_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ.get("BATCHMILL_API_KEY", "unused"),
)
events = Queue()
seen = set()


class Receiver(BaseHTTPRequestHandler):
    """Answers at once, and leaves the work to whoever reads the queue."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = client.webhooks.unwrap(body, dict(self.headers.items()))
        except InvalidWebhookSignatureError:
            self.answer(400)
            return
        self.answer(204)
        if event.id not in seen:  # a delivery may come twice
            seen.add(event.id)
            events.put(event)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


receiver = HTTPServer(("127.0.0.1", 0), Receiver)
Thread(target=receiver.serve_forever, daemon=True).start()
endpoint = client.webhooks.create(
    name="example",
    url=f"http://127.0.0.1:{receiver.server_port}/",
    event_types=["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"],
)
client.webhook_secret = endpoint.signing_secret  # shown now and never again: keep it safe

line = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": MODEL, "messages": [{"role": "user", "content": "Name a colour."}]},
}
file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
)

event = events.get(timeout=300)
batch = client.batches.retrieve(event.data.id)
print(f"{event.type}: {batch.request_counts.completed} of {batch.request_counts.total}")
client.webhooks.delete(endpoint.id)
receiver.shutdown()
