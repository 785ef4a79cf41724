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


def chain(model: str, settings: Any) -> Any:
    prompt = ChatPromptTemplate.from_messages([("user", "Say {word}, please.")])
    return batch_chain(prompt | ChatOpenAI(model=model) | StrOutputParser(), settings)


async def finish(model: str) -> dict[str, Any]:
    settings = LangasyncSettings()
    settings.batch_poll_interval = 0.2
    job = await chain(model, settings).submit([{"word": f"word {at}"} for at in range(COUNT)])
    found = [result async for result in BatchPoller(settings).wait_all()]
    return {
        "same": [one.job_id for one in found] == [job.job_id],
        "status": found[0].status_info.status.value,
        "counts": [found[0].status_info.total, found[0].status_info.completed],
        "results": found[0].results,
    }


async def cancel(model: str) -> dict[str, Any]:
    job = await chain(model, LangasyncSettings()).submit([{"word": "never"}] * COUNT)
    return {"cancelled": await job.cancel()}


if __name__ == "__main__":
    wanted = cancel if sys.argv[2:] == ["cancel"] else finish
    sys.stdout.write("\n" + json.dumps(asyncio.run(wanted(sys.argv[1]))))
