"""The lines of a batch: filtered, searched and paged while it runs; and one line, read in full."""

import json
import re
from pathlib import Path

from api_house import run
from batch_stage import EVIL, Stage, begin, chat_answer, chat_request, make_batch, request_line
from console_house import Visitor, open_console, text_of

from batchmill.console.view.passages import MOST_SHOWN
from batchmill.domain.account import Role
from batchmill.domain.batch import Event
from batchmill.service.caller import Caller

PIXEL = "data:image/png;base64,iVBORw0KGgo="
_ROW = re.compile(r'<tr id="line-(\d+)"')


def numbers(html: str) -> list[int]:
    """The lines that a page lists."""
    return [int(found) for found in _ROW.findall(html)]


async def three(visitor: Visitor) -> Stage:
    """A batch with a line of each outcome."""
    lines = chat_request("first") + chat_request("second") + chat_request("third 100%")
    stage = await begin(visitor, lines)
    stage.settle(1)
    stage.settle(2, {"error": {"message": "slow down", "code": "busy"}}, status=429)
    return stage


def test_lines_are_listed_while_the_batch_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await three(visitor)
            page = await visitor.get(f"{stage.path}/lines")
            said = text_of(page)
            assert numbers(page.text) == [1, 2, 3]
            assert "1 first completed 200 — 12" in said
            assert "2 second failed 429 busy —" in said
            assert "3 third 100% waiting — — —" in said
            assert "Renew" in said
            assert "every 2s" not in page.text
            stage.settle(3)
            await stage.end()
            ended = await visitor.get(f"{stage.path}/lines")
            assert "3 third 100% completed 200 — 12" in text_of(ended)
            assert "Renew" not in text_of(ended)

    run(main())


def test_filters_stand_in_the_address_and_combine(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await three(visitor)
            for query, found in {
                "": [1, 2, 3],
                "outcome=completed": [1],
                "outcome=failed": [2],
                "outcome=nonsense": [1, 2, 3],
                "search=s": [1, 2],
                "search=100%25": [3],
                "search=s&outcome=failed": [2],
                "search=third&outcome=failed": [],
                f"search={'x' * 300}": [],
                "search=%00": [1, 2, 3],
            }.items():
                page = await visitor.get(f"{stage.path}/lines?{query}")
                assert page.status_code == 200, query
                assert numbers(page.text) == found, query
                assert ("No line fits." in page.text) == (not found), query
            part = await visitor.renew(f"{stage.path}/lines?outcome=failed", "rows")
            assert part.text.lstrip().startswith('<section id="rows"')

    run(main())


def test_pages_of_fifty_lead_on_with_their_filters(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            lines = b"".join(chat_request(f"r&{n}") for n in range(1, 102))
            stage = await begin(visitor, lines, shard_lines=40)
            seen: list[int] = []
            path = f"{stage.path}/lines?search=r%26"
            sizes = []
            for _ in range(3):
                page = await visitor.get(path)
                sizes.append(len(numbers(page.text)))
                seen += numbers(page.text)
                found = re.search(r'href="/console([^"]+)" rel="next"', page.text)
                path = "" if found is None else found[1].replace("&amp;", "&")
                assert ("First lines" in page.text) == (len(seen) > 50)
            assert seen == list(range(1, 102))
            assert sizes == [50, 50, 1]
            assert not path

    run(main())


def test_a_cursor_of_another_list_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await three(visitor)
            for after in ("x", "0" * 24, "1"):
                page = await visitor.get(f"{stage.path}/lines?after={after}")
                assert page.status_code == 400
                assert "Invalid 'after'" in text_of(page)

    run(main())


def test_where_nothing_is_to_be_listed_it_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            path = f"/batches/{(await make_batch(visitor))['id']}"
            assert "The file is being checked." in text_of(await visitor.get(f"{path}/lines"))
            await visitor.house.move(path.rpartition("/")[2], Event.REJECTED)
            assert "The batch has no lines." in text_of(await visitor.get(f"{path}/lines"))
            stage = await three(visitor)
            stage.settle(3)
            batch = await stage.end()
            for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
                await visitor.house.services.files.delete(Caller(), file_id or "")
            gone = await visitor.get(f"{stage.path}/lines")
            assert "The lines are gone." in text_of(gone)

    run(main())


def test_a_line_shows_what_was_asked_and_what_was_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            asked = chat_request(
                "weather",
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": PIXEL}},
                        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
                    ],
                },
                temperature=0.2,
            )
            stage = await begin(visitor, asked)
            call = {"function": {"name": "look_up", "arguments": '{"city":"Paris"}'}}
            stage.settle(1, chat_answer("A cat.", reasoning_content="Whiskers.", tool_calls=[call]))
            page = await visitor.get(f"{stage.path}/lines/1")
            said = text_of(page)
            for text in (
                "Line 1, weather",
                "system Be brief.",
                "user What is this?",
                "Image, not loaded https://example.com/cat.png",
                "temperature 0.2",
                "assistant ended by stop Reasoning Whiskers. A cat.",
                'Calls look_up {"city":"Paris"}',
                "prompt_tokens 7, completion_tokens 5, total_tokens 12",
                "HTTP status 200",
            ):
                assert text in said, text
            assert f'<img src="{PIXEL}"' in page.text
            assert page.text.count("<img") == 2, "the other is the console's own"
            assert "https://example.com" not in re.findall(r'(?:src|href)="([^"]+)"', page.text)

    run(main())


def test_a_line_says_which_region_served_it(tmp_path: Path) -> None:
    """While its batch runs and after its end; and nothing where no region has a name."""

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await begin(visitor, chat_request("a") + chat_request("b"))
            stage.settle(1, region="eu-west")
            stage.settle(2)
            for _ in range(2):
                assert "Region eu-west" in text_of(await visitor.get(f"{stage.path}/lines/1"))
                assert "Region" not in text_of(await visitor.get(f"{stage.path}/lines/2"))
                if not (await stage.batch()).status.is_terminal:
                    await stage.end()

    run(main())


def test_a_line_opens_beside_its_list_and_as_a_page(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await three(visitor)
            part = await visitor.renew(f"{stage.path}/lines/2", "line-panel")
            assert part.text.lstrip().startswith("<aside")
            assert "<html" not in part.text
            assert "Open as page" in part.text
            page = await visitor.get(f"{stage.path}/lines/2")
            assert "Open as page" not in page.text
            assert "Error busy Message slow down" in text_of(page)
            waiting = text_of(await visitor.get(f"{stage.path}/lines/3"))
            assert "There is no answer yet." in waiting

    run(main())


def test_hostile_content_is_shown_and_not_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            evil = {"role": f"{EVIL} unseen", "content": f"\u202e{EVIL}"}
            link = {"type": "image_url", "image_url": {"url": "javascript:alert(1)"}}
            svg = {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AAAA"}}
            asked = chat_request(EVIL, evil, {"role": "user", "content": [link, svg]})
            stage = await begin(visitor, asked)
            stage.settle(1, {"error": {"message": EVIL, "code": f'">{EVIL}'}}, status=400)
            for path in ("lines", "lines/1"):
                page = await visitor.get(f"{stage.path}/{path}")
                assert page.status_code == 200
                assert EVIL in text_of(page)
                assert "<script>window" not in page.text
                assert "<img src=x" not in page.text
                assert page.text.count("<img") == 1, "no image but the console's own"
            assert 'class="turn other"' in page.text

    run(main())


def test_what_cannot_be_laid_out_is_shown_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            bodies = [
                {"model": "qwen-plus", "messages": {"not": "a list"}},
                {"model": "qwen-plus", "documents": ["a", "b"], "query": "c"},
                {"model": "qwen-plus", "messages": [[[[1]]], "text", None, 7, {"content": 3}]},
            ]
            lines = b"".join(request_line(f"r{n}", body) for n, body in enumerate(bodies))
            stage = await begin(visitor, lines)
            for number in (1, 2, 3):
                stage.settle(number, {"anything": [1, {"deep": None}]})
                page = await visitor.get(f"{stage.path}/lines/{number}")
                assert page.status_code == 200
                assert '"anything": [ 1,' in text_of(page)
            assert '"documents": [ "a", "b"' in text_of(await visitor.get(f"{stage.path}/lines/2"))

    run(main())


def test_long_content_is_cut_and_the_whole_is_a_download(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            long = "w" * (MOST_SHOWN + 1)
            just = {"role": "user", "content": "w" * MOST_SHOWN}
            lines = chat_request("a", {"role": "user", "content": long}) + chat_request("b", just)
            stage = await begin(visitor, lines)
            stage.settle(1, chat_answer("v" * 3_000_000))
            page = await visitor.get(f"{stage.path}/lines/1")
            assert len(page.text) < 6 * MOST_SHOWN
            assert "Cut here: it has 64.0 KB in all." in text_of(page)
            assert "Cut here: it has 2.9 MB in all." in text_of(page)
            other = (await visitor.get(f"{stage.path}/lines/2")).text
            chat = other.split('<div class="chat">')[1].split("<details>")[0]
            assert "Cut here" not in chat, "just as much as is shown"
            request = await visitor.get(f"{stage.path}/lines/1/request.jsonl")
            assert request.content + b"\n" == chat_request("a", {"role": "user", "content": long})
            assert request.headers["content-disposition"].startswith("attachment")
            assert request.headers["x-content-type-options"] == "nosniff"
            result = await visitor.get(f"{stage.path}/lines/1/result.jsonl")
            answered = json.loads(result.content)["response"]["body"]
            assert answered["choices"][0]["message"]["content"] == "v" * 3_000_000

    run(main())


def test_a_line_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await three(visitor)
            for number in ("0", "4", "-1", "x", "1.0", "9" * 12, "9" * 13, "9" * 5_000, "%C2%B2"):
                for rest in ("", "/request.jsonl", "/result.jsonl"):
                    page = await visitor.get(f"{stage.path}/lines/{number}{rest}")
                    assert page.status_code == 404, (number, rest)
            assert (await visitor.get(f"{stage.path}/lines/3/request.jsonl")).status_code == 200
            assert (await visitor.get(f"{stage.path}/lines/3/result.jsonl")).status_code == 404

    run(main())


def test_a_side_whose_file_is_gone_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await three(visitor)
            stage.settle(3)
            batch = await stage.end()
            files = visitor.house.services.files
            await files.delete(Caller(), batch.output_file_id or "")
            said = text_of(await visitor.get(f"{stage.path}/lines/1"))
            assert "The result file is gone" in said
            await files.delete(Caller(), batch.input_file_id)
            said = text_of(await visitor.get(f"{stage.path}/lines/2"))
            assert "The input file is gone" in said
            assert "slow down" in said

    run(main())


def test_every_role_may_read_lines(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            admin = await visitor.make_key()
            visitor.house.client.headers["authorization"] = f"Bearer {admin}"
            stage = await three(visitor)
            assert (await visitor.get(f"{stage.path}/lines")).status_code == 303
            for role in Role:
                await visitor.sign_in(await visitor.make_key(role))
                for path in ("lines", "lines/1", "lines/1/request.jsonl", "lines/1/result.jsonl"):
                    assert (await visitor.get(f"{stage.path}/{path}")).status_code == 200, path

    run(main())
