"""Every merge, encoder and connector with one plan."""

from collections import Counter
from itertools import product

from packages.models.tests.matrix.connectors import CONNECTORS
from packages.models.tests.matrix.encoders import ENCODERS
from packages.models.tests.matrix.plans import MERGES
from packages.models.tests.matrix.workshop import check


def check_everything(workshop, plan):
    """Raise with every combination that neither trains nor is refused for a known reason."""
    outcomes, failed = Counter(), []
    for names in product([plan], MERGES, ENCODERS, CONNECTORS):
        try:
            outcomes[check(workshop, *names) or "works"] += 1
        except Exception as error:
            failed.append(f"{' x '.join(names)}: {error!r}")
    print(dict(outcomes))
    assert not failed, "\n".join(failed)
    assert outcomes["works"]
