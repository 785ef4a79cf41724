"""langasync: a LangChain chain through a batch, polled by its own poller; prints what came out."""

import asyncio
import json
import sys
from typing import Any

from langasync import (  # type: ignore[import-not-found,unused-ignore]
    BatchPoller,
    LangasyncSettings,
    batch_chain,
)
from langchain_core.output_parsers import (  # type: ignore[import-not-found,unused-ignore]
    StrOutputParser,
)
from langchain_core.prompts import (  # type: ignore[import-not-found,unused-ignore]
    ChatPromptTemplate,
)
from langchain_openai import ChatOpenAI  # type: ignore[import-not-found,unused-ignore]

COUNT = 4


async def main(model: str) -> dict[str, Any]:
    settings = LangasyncSettings()
    settings.batch_poll_interval = 0.2
    prompt = ChatPromptTemplate.from_messages([("user", "Say {word}, please.")])
    chain = batch_chain(prompt | ChatOpenAI(model=model) | StrOutputParser(), settings)
    job = await chain.submit([{"word": f"word {at}"} for at in range(COUNT)])
    found = [result async for result in BatchPoller(settings).wait_all()]
    late = await chain.submit([{"word": "never"}] * COUNT)
    cancelled = await late.cancel()
    return {
        "same": [one.job_id for one in found] == [job.job_id],
        "status": found[0].status_info.status.value,
        "counts": [found[0].status_info.total, found[0].status_info.completed],
        "results": found[0].results,
        "cancelled": cancelled,
    }


if __name__ == "__main__":
    answers = asyncio.run(main(sys.argv[1]))
    sys.stdout.write("\n" + json.dumps(answers))
