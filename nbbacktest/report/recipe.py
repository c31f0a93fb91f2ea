"""The recipe of a run: one digest over everything that decides its result."""

from __future__ import annotations

import hashlib
import json

from nbbacktest.core.digests import digest_of
from nbbacktest.core.inputs import canonical
from nbbacktest.trading.record import RunRecord

_HEADER = b"nbbacktest recipe 1\n"
_BESIDE = ("journal", "session_name", "_metadata")
"""The sections of a config that have no part in a result."""


def recipe_of(record: RunRecord) -> str:
    """SHA-256 over the config, the bars up to the last instant, the strategies with their code, and the inputs by hand, in hex.

    Equal recipes have equal fingerprints, with the same versions of this package and of those that it computes with. A class
    whose source can't be had counts by its name.
    """
    if record.recipe:
        return record.recipe
    config = {name: section for name, section in record.config.items() if name not in _BESIDE}
    columns = [*record.bars.values(), *record.coarser]
    bars = [[one.symbol, one.interval.name, digest_of(one)] for one in columns]
    facts = [config, bars, list(record.strategies), record.code.values]
    digest = hashlib.sha256(_HEADER)
    digest.update(json.dumps(facts, sort_keys=True, default=str, separators=(",", ":")).encode())
    digest.update(canonical(record.inputs))
    return digest.hexdigest()
