"""The built-in models: the test model's fixed reply, and the real small one."""

import asyncio
import json

import pytest

from batchmill.domain.results import judge
from batchmill.domain.usage import Usage
from batchmill.upstream.builtin import TestModel
from batchmill.upstream.smollm2 import NAME, SmolLm2, find_weights


def test_the_test_model_answers_as_the_vendor_s_does() -> None:
    reply = asyncio.run(TestModel().send("/chat/ds-test", b"{}", "key"))
    body = json.loads(reply.body)
    assert reply.status == 200
    assert body["id"].startswith("chatcmpl-")
    assert body["choices"] == [
        {"finish_reason": "stop", "index": 0, "message": {"content": "This is a test result."}}
    ]
    assert body["model"] == "batch-test-model"
    assert judge(200, reply.body).usage == Usage(input=20, output=6)


@pytest.mark.slow
def test_the_real_model_answers_with_true_token_counts() -> None:
    weights = find_weights()
    assert weights is not None, "./scripts/install installs the model"

    async def ask() -> None:
        model = SmolLm2(weights)
        messages = [{"role": "user", "content": "Say hello."}]
        body = json.dumps({"model": NAME, "messages": messages, "max_tokens": 5}).encode()
        try:
            replies = await asyncio.gather(
                *(model.send("/chat/completions", body, f"key-{n}") for n in range(2))
            )
        finally:
            await model.close()
        for reply in replies:
            answer = judge(reply.status, reply.body)
            assert answer.is_success
            assert answer.usage.input > 0
            assert 0 < answer.usage.output <= 5
            assert json.loads(reply.body)["model"] == NAME

    asyncio.run(ask())
