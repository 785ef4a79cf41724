"""What is served: endpoints, prices, and how the servers behind each model are doing now."""

from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import page
from batchmill.console.visit import Visit
from batchmill.door.access import Access
from batchmill.service.services import Services


class ModelsPages:
    """The board of models."""

    def __init__(self, services: Services) -> None:
        self._board = services.board

    def routes(self) -> Sequence[BaseRoute]:
        """The pages, below the console's base."""
        return [page("/models", self.look, Access.READ)]

    async def look(self, visit: Visit) -> Response:
        """Every model that the visitor's key may call."""
        models = await self._board.look(visit.caller)
        return visit.show("models.html", models=models, engine_lives=self._board.engine_lives())
