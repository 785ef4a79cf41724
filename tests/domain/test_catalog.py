"""Which models are served, and on which endpoints."""

from batchmill.domain.catalog import ENDPOINTS, TEST_ENDPOINT, Catalog

CHAT = "/v1/chat/completions"
LISTED = {"a": frozenset({CHAT}), "b": frozenset({"/v1/embeddings", CHAT})}


def test_a_closed_catalog_serves_what_it_lists_and_nothing_else() -> None:
    catalog = Catalog(LISTED)
    assert catalog.serves("a")
    assert not catalog.serves("c")
    assert not catalog.serves("A")
    assert not catalog.serves("")
    assert not catalog.serves_on("c", CHAT)


def test_a_listed_model_answers_on_its_own_endpoints_alone() -> None:
    catalog = Catalog(LISTED)
    assert catalog.serves_on("a", CHAT)
    assert not catalog.serves_on("a", "/v1/embeddings")
    assert catalog.serves_on("b", "/v1/embeddings")


def test_an_open_catalog_lets_others_through_but_keeps_what_it_says_of_the_listed() -> None:
    catalog = Catalog(LISTED, accepts_any=True)
    assert catalog.serves("c")
    assert catalog.serves_on("c", "/v1/embeddings")
    assert not catalog.serves_on("a", "/v1/embeddings")


def test_a_barred_model_is_not_served_even_where_any_is() -> None:
    catalog = Catalog(LISTED, accepts_any=True, barred=frozenset({"c"}))
    assert not catalog.serves("c")
    assert not catalog.serves_on("c", CHAT)
    assert catalog.serves("d")
    assert not catalog.restricted(["c"]).serves("c")
    assert catalog.restricted(["d"]).serves("d")


def test_an_empty_catalog_serves_nothing() -> None:
    assert not Catalog().serves("a")
    assert not Catalog().serves_on("a", CHAT)


def test_the_endpoints_are_the_eight_of_the_contract() -> None:
    assert len(set(ENDPOINTS)) == 8
    assert TEST_ENDPOINT in ENDPOINTS
    assert all(endpoint.startswith("/v1/") for endpoint in ENDPOINTS)
