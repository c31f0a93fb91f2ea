"""The same three stages in the caller's thread: for sweeps, for hosts without threads, and to measure against."""

from __future__ import annotations

from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.timeline import Timeline
from nbbacktest.engine.window import Quantum, Window


def run_inline(
    timeline: Timeline, gate: RunGate, quantum: Quantum, processor: DataProcessor, analysis: AnalysisEngine
) -> None:
    """Run to the end, as fast as it goes, with the same order of events and the same result as with threads.

    A hold blocks the caller until another thread releases it. The clock is not looked at.
    """
    try:
        if not analysis.begin():
            return
        while not gate.closed and (start := analysis.frame.cursor) < len(timeline):
            stop = min(start + quantum.length, len(timeline))
            for batch in processor.batches(Window(start, stop, gate.generation, None)):
                analysis.process(batch)
    finally:
        analysis.finish()
