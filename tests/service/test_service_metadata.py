"""The callback in a batch's metadata: refused at once where it could never be told."""

import pytest

from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import Profile
from batchmill.domain.webhook import CALLBACK_KEY
from batchmill.service.metadata import check_metadata


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://localhost/", "http://[fd00::1]/"])
def test_a_private_callback_is_refused_unless_it_is_allowed(url: str) -> None:
    check_metadata({CALLBACK_KEY: url}, Profile.QWEN, allow_private=True)
    check_metadata({CALLBACK_KEY: url}, Profile.OPENAI, allow_private=False)
    with pytest.raises(InvalidRequest, match="private") as caught:
        check_metadata({CALLBACK_KEY: url}, Profile.QWEN, allow_private=False)
    assert caught.value.param == f"metadata.{CALLBACK_KEY}"


@pytest.mark.parametrize("url", ["", "soon", "https://me:pw@h.example/", "https://h.example/\n"])
def test_a_callback_that_is_no_url_is_refused_in_any_case(url: str) -> None:
    for allow_private in (True, False):
        with pytest.raises(InvalidRequest):
            check_metadata({CALLBACK_KEY: url}, Profile.QWEN, allow_private=allow_private)
