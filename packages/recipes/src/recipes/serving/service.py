"""Everything that answers for some models, except the socket."""

from collections.abc import Mapping, Sequence

from foveal.models import VisionLanguageModel
from recipes.serving.app import make_app
from recipes.serving.fetching import Fetcher
from recipes.serving.limits import Guard, State
from recipes.serving.metrics import Metrics
from recipes.serving.worker import Worker


class Service:
    """Models, each with the thread that answers with it, behind one guarded application.

    Args:
        models: by the names that clients use; in evaluation mode, on their devices.
        max_new_tokens: longest answer, if a request does not say.
        max_batch: questions of one model answered together.
        max_requests: most requests for answers at a time.
        cache_bytes: memory for visual tokens of each model's pictures.
        fetcher: fetches pictures.
        key: what clients must send; None: nothing.
        hosts: names by which the server may be asked; None: any.

    Attributes:
        guarded: the application.
        state: what is being answered.
    """

    def __init__(
        self,
        models: Mapping[str, VisionLanguageModel],
        *,
        max_new_tokens: int,
        max_batch: int,
        max_requests: int,
        cache_bytes: int,
        fetcher: Fetcher,
        key: str | None = None,
        hosts: Sequence[str] | None = None,
    ) -> None:
        metrics, self.state = Metrics(), State()
        self.workers = {
            name: Worker(name, model, max_batch=max_batch, cache_bytes=cache_bytes, metrics=metrics)
            for name, model in models.items()
        }
        app = make_app(self.workers, max_new_tokens=max_new_tokens, fetcher=fetcher, metrics=metrics, state=self.state)
        self.guarded = Guard(app, state=self.state, metrics=metrics, max_requests=max_requests, key=key, hosts=hosts)

    def start(self) -> None:
        """Begin to answer."""
        for worker in self.workers.values():
            worker.start()

    def stop(self) -> None:
        """Answer no more; what is being answered is refused."""
        for worker in self.workers.values():
            worker.stop()
