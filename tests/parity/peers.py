"""The two peers, imported quietly: both are used as installed programs, nothing of theirs is copied."""

from __future__ import annotations

import warnings

import pytest

_CURE = 'install it with: pip install -e ".[parity]"'

with warnings.catch_warnings():
    # Older than the Python and the pandas they meet here; what they warn of at import is theirs to mend.
    warnings.simplefilter("ignore")
    backtesting = pytest.importorskip("backtesting", reason=f"parity with backtesting.py: {_CURE}")
    backtrader = pytest.importorskip("backtrader", reason=f"parity with backtrader: {_CURE}")

# Its progress bar would print and start a thread.
backtesting.backtesting._tqdm = lambda sequence, **_: sequence

__all__ = ["backtesting", "backtrader"]
