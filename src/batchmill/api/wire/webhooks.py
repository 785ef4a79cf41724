"""Webhook endpoints and deliveries as clients see them."""

from typing import Literal

from pydantic import Field

from batchmill.api.wire.shape import Shape, ends_of, seconds_of
from batchmill.domain.webhook import EVENT_TYPES, Delivery, WebhookEndpoint
from batchmill.ports import Page
from batchmill.service.webhooks import TestOutcome


class CreateWebhookEndpoint(Shape):
    """The body of `POST /webhook_endpoints`."""

    name: str = Field(description="1 to 100 characters, for people.")
    url: str = Field(description="An http or https URL that takes a POST.")
    event_types: list[str] = Field(description="What it is told, one or more.")


class UpdateWebhookEndpoint(Shape):
    """The body of `POST /webhook_endpoints/{webhook_endpoint_id}`; what is absent stays."""

    name: str | None = None
    url: str | None = None
    event_types: list[str] | None = Field(default=None, description="The whole set.")


class RotateWebhookSecret(Shape):
    """The body of `POST /webhook_endpoints/{webhook_endpoint_id}/rotate_secret`."""

    keep_old_secret_active_for_24_hours: bool = Field(
        default=False, description="Whether the old secret signs too, for a day."
    )


class TestWebhookEndpoint(Shape):
    """The body of `POST /webhook_endpoints/{webhook_endpoint_id}/test`."""

    __test__ = False

    event_type: str = Field(description="Of which event a sample is sent.")


class WebhookEndpointObject(Shape):
    """A webhook endpoint, without its secret."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    created_at: int
    updated_at: int


class WebhookEndpointWithSecret(WebhookEndpointObject):
    """A webhook endpoint with its secret, which is not shown again."""

    signing_secret: str


class WebhookEndpointList(Shape):
    """A page of webhook endpoints."""

    object: Literal["list"] = "list"
    data: list[WebhookEndpointObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class WebhookEndpointDeleted(Shape):
    """A webhook endpoint is gone."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class WebhookTestResult(Shape):
    """What a receiver answered to a test."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class WebhookEventTypeList(Shape):
    """What an endpoint can be told."""

    object: Literal["list"] = "list"
    data: list[str]


class WebhookDeliveryObject(Shape):
    """A delivery; `webhook_endpoint_id` is null for the callback of a batch."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str | None
    url: str
    event_id: str
    event_type: str
    subject: str
    status: Literal["pending", "delivered", "given_up"]
    attempts: int
    created_at: int
    next_attempt_at: int | None
    delivered_at: int | None
    given_up_at: int | None
    last_status_code: int | None
    last_error: str | None


class WebhookDeliveryList(Shape):
    """A page of deliveries."""

    object: Literal["list"] = "list"
    data: list[WebhookDeliveryObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def webhook_endpoint_object(endpoint: WebhookEndpoint) -> WebhookEndpointObject:
    """A webhook endpoint as clients see it."""
    return WebhookEndpointObject(
        id=endpoint.id,
        name=endpoint.name,
        url=endpoint.url,
        event_types=list(endpoint.event_types),
        signing_secret_hint=endpoint.secret_hint,
        created_at=int(endpoint.created_at),
        updated_at=int(endpoint.updated_at),
    )


def webhook_endpoint_with_secret(endpoint: WebhookEndpoint) -> WebhookEndpointWithSecret:
    """A webhook endpoint as its maker sees it, once."""
    shown = webhook_endpoint_object(endpoint).model_dump()
    return WebhookEndpointWithSecret(**shown, signing_secret=endpoint.secret)


def webhook_endpoint_list(page: Page[WebhookEndpoint]) -> WebhookEndpointList:
    """A page of webhook endpoints as clients see it."""
    data = [webhook_endpoint_object(one) for one in page.items]
    first, last = ends_of(one.id for one in data)
    return WebhookEndpointList(data=data, first_id=first, last_id=last, has_more=page.has_more)


def webhook_test_result(outcome: TestOutcome) -> WebhookTestResult:
    """What came of a test, as clients see it."""
    return WebhookTestResult(
        webhook_endpoint_id=outcome.endpoint_id,
        event_type=outcome.event_type,
        status_code=outcome.status,
    )


def webhook_event_type_list() -> WebhookEventTypeList:
    """Every event type."""
    return WebhookEventTypeList(data=list(EVENT_TYPES))


def webhook_delivery_object(delivery: Delivery) -> WebhookDeliveryObject:
    """A delivery as clients see it."""
    return WebhookDeliveryObject(
        id=delivery.id,
        webhook_endpoint_id=delivery.endpoint_id,
        url=delivery.url,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        subject=delivery.subject,
        status=delivery.status,
        attempts=delivery.attempts,
        created_at=int(delivery.created_at),
        next_attempt_at=seconds_of(delivery.next_at),
        delivered_at=seconds_of(delivery.delivered_at),
        given_up_at=seconds_of(delivery.given_up_at),
        last_status_code=delivery.last_status,
        last_error=delivery.last_error,
    )


def webhook_delivery_list(page: Page[Delivery]) -> WebhookDeliveryList:
    """A page of deliveries as clients see it."""
    data = [webhook_delivery_object(one) for one in page.items]
    first, last = ends_of(one.id for one in data)
    return WebhookDeliveryList(data=data, first_id=first, last_id=last, has_more=page.has_more)
