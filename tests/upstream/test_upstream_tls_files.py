"""Files of certificates that will not do: told in a sentence, before anything is sent."""

from pathlib import Path

import pytest
from certificates import Authority
from cryptography.hazmat.primitives import serialization

from batchmill.domain.errors import ConfigError
from batchmill.ports import Identity, Target
from batchmill.upstream.http import HttpTransport

URL = "https://127.0.0.1:1/v1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def refusal(ca: Path | None = None, identity: Identity | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        HttpTransport(Target(URL, ca=ca, identity=identity))
    return caught.value.message


def test_an_authority_that_is_no_certificate(tmp_path: Path) -> None:
    no_pem = tmp_path / "ca.pem"
    no_pem.write_text("hello")
    assert refusal(no_pem) == (
        f"An upstream's ca names {no_pem}, which holds no certificate in PEM form."
    )


def test_files_that_are_not_there(tmp_path: Path, authority: Authority) -> None:
    gone, here = tmp_path / "gone.pem", authority.path
    end = f"cannot be read: {gone} (No such file or directory)."
    assert refusal(gone) == f"An upstream's ca {end}"
    assert refusal(identity=Identity(gone, here)) == f"An upstream's client_certificate {end}"
    assert refusal(identity=Identity(here, gone)) == f"An upstream's client_key {end}"


def test_a_key_of_another_certificate(authority: Authority) -> None:
    one, other = authority.sign(name="one"), authority.sign(name="other")
    said = refusal(identity=Identity(one.certificate, other.key))
    assert f"{one.certificate} and {other.key}: they must hold a certificate and its key" in said


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    tmp_path: Path, authority: Authority
) -> None:
    one = authority.sign(name="one")
    key = serialization.load_pem_private_key(one.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "without a passphrase" in refusal(identity=Identity(one.certificate, locked))


def test_files_are_not_read_where_there_is_no_tls(tmp_path: Path) -> None:
    HttpTransport(Target("http://127.0.0.1:1/v1", ca=tmp_path / "gone.pem"))
