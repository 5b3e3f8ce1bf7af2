"""Whether a query would be answered now: asked by whoever decides where queries are sent."""

import asyncio
import logging

from service.pairs.serving import Serving
from service.traffic.admission import Admission

__all__ = ["Readiness"]

log = logging.getLogger("service.readiness")


class Readiness:
    """Tells whether a query would be answered, and tries one where only that can tell.

    Args:
        serving: Which pair would answer.
        admission: How much is under way, and whether the last requests failed.
    """

    def __init__(self, serving: Serving, admission: Admission) -> None:
        self._serving = serving
        self._admission = admission
        self._trial: asyncio.Task[None] | None = None

    async def why_not(self) -> str | None:
        """Return why a query would not be answered now, or None if it would be."""
        refusal, trial = self._look()
        if trial is not None:
            try:
                async with asyncio.timeout(self._admission.timeout_s):
                    await asyncio.shield(trial)
            except Exception as error:
                return f"queries fail ({type(error).__name__}); the log tells more"
        return refusal

    def is_ready(self) -> bool:
        """Return whether a query would be answered now; False while that is being tried.

        Nobody waits for the trial here: a scrape that took as long as a query may would be given
        up when its figures are wanted most.
        """
        return self._look() == (None, None)

    def _look(self) -> tuple[str | None, asyncio.Task[None] | None]:
        """Return why a query would be refused, and the trial that is needed to know more."""
        admission = self._admission
        if admission.is_closed:
            return "the service is stopping", None
        if admission.waiting_items >= admission.limit:
            return f"{admission.waiting_items} items are waiting; the queue is full", None
        if not admission.is_in_doubt:
            return None, None
        # One trial for all who ask meanwhile: it takes a whole batch, and anybody may ask.
        if self._trial is None or self._trial.done():
            self._trial = asyncio.create_task(self._try())
            # Its failure is logged; perhaps nobody waits for it.
            self._trial.add_done_callback(lambda trial: trial.cancelled() or trial.exception())
        return None, self._trial

    async def _try(self) -> None:
        with self._serving.leased() as pair:
            try:
                await asyncio.to_thread(pair.answer_canary)
            except Exception:
                log.warning("a query that was tried has failed", exc_info=True)
                raise
        self._admission.is_in_doubt = False
