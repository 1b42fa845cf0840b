"""What the server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters, gauges and histograms; every one has the label `model`, except `refused`.

    Attributes:
        registry: all of them, for `prometheus_client.generate_latest`.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        model = ("model",)
        self.answers = Counter(
            "foveal_answers",
            "Answers by how they ended: stop, length, left, error.",
            (*model, "end"),
            registry=registry,
        )
        self.refused = Counter(
            "foveal_refused", "Requests that were refused, by HTTP status.", ("status",), registry=registry
        )
        self.tokens = Counter(
            "foveal_tokens",
            "Tokens: text and visual ones of prompts, and those of answers.",
            (*model, "kind"),
            registry=registry,
        )
        self.pictures = Counter(
            "foveal_pictures",
            "Pictures: encoded, or kept from an earlier question.",
            (*model, "from"),
            registry=registry,
        )
        self.waiting = Gauge(
            "foveal_waiting", "Questions that wait for a place in the batch.", model, registry=registry
        )
        self.running = Gauge("foveal_running", "Questions that are being answered.", model, registry=registry)
        self.batch = Histogram(
            "foveal_batch_size",
            "Questions answered together, at every token.",
            model,
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.first = Histogram(
            "foveal_first_token_seconds",
            "From the question to its first token.",
            model,
            buckets=SECONDS,
            registry=registry,
        )
        self.seconds = Histogram(
            "foveal_answer_seconds",
            "From the question to the end of its answer.",
            model,
            buckets=SECONDS,
            registry=registry,
        )
