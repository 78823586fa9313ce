"""The threads that all requests share, by tenant: however many requests of one tenant are under way, they never take
all of them, and another tenant's wait behind few (docs/decisions/0052)."""

import functools
import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
from fastapi.routing import APIRoute

from consent_http.callers import Caller

_CALLER = "key"
"""The parameter of a route that is its caller."""


class TenantTurns:
    """Belongs to one event loop."""

    def __init__(self, most: int) -> None:
        """``most``: threads that work for one tenant at once."""
        self._turns: defaultdict[str, anyio.CapacityLimiter] = defaultdict(lambda: anyio.CapacityLimiter(most))

    def of(self, tenant: str) -> anyio.CapacityLimiter:
        """To be held (`async with`) while a thread works for this tenant. A task holds it once at most."""
        return self._turns[tenant]

    def route_class(self) -> type[APIRoute]:
        """Of routers whose routes are functions that block: each is called in a thread, in its tenant's turn. The body
        has arrived by then, so that a slow sender holds no thread."""
        in_turn = self._in_turn

        class InTurn(APIRoute):
            def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
                blocks = not inspect.iscoroutinefunction(endpoint)
                super().__init__(path, in_turn(endpoint) if blocks else endpoint, **options)

        return InTurn

    def _in_turn(self, endpoint: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(endpoint)
        async def called(**arguments: Any) -> Any:
            caller: Caller = arguments[_CALLER]
            async with self.of(caller.tenant):
                return await anyio.to_thread.run_sync(functools.partial(endpoint, **arguments))

        # FastAPI looks through `__wrapped__` for what to call and how: it would see a function that blocks.
        vars(called).pop("__wrapped__")
        vars(called)["__signature__"] = inspect.signature(endpoint)
        return called
