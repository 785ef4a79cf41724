"""Templates: a whole page, or the block of it that a browser asks to have renewed.

Everything that a template prints is escaped; no filter here marks anything as
safe, and no template does. A name that a handler did not hand over is an error,
never an empty text.
"""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from batchmill.console.assets import Assets
from batchmill.console.view import figures


class Templates:
    """The templates of all pages. ``base`` is the path that the console is served at."""

    def __init__(self, assets: Assets, base: str) -> None:
        environment = Environment(
            loader=PackageLoader(__package__ or "", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(
            amount=figures.amount,
            duration=figures.duration,
            exact=figures.exact,
            number=figures.number,
            percent=figures.percent,
            price=figures.price,
            short_id=figures.short_id,
            size=figures.size,
        )
        environment.globals.update(asset=assets.url, base=base, unknown=figures.UNKNOWN)
        # Blocks are rendered alone as well, and then see globals only.
        environment.globals["ui"] = environment.get_template("ui.html").module
        self._environment = environment

    def page(self, name: str, context: dict[str, Any]) -> str:
        """The whole page."""
        return self._environment.get_template(name).render(context)

    def block(self, name: str, block: str, context: dict[str, Any]) -> str | None:
        """One block of the page; None where the page has none of that name."""
        template = self._environment.get_template(name)
        render = template.blocks.get(block)
        return None if render is None else "".join(render(template.new_context(context)))
