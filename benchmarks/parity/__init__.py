"""Whether other engines come to the same fills and the same cent: ``python -m benchmarks.parity`` (``make parity``).

======================  =================================================================================
module                  its duty
======================  =================================================================================
``__main__``            the command: which peers, and the table
``tape``                bars and orders of one case, as a file that every environment can read
``cases``               the cases: seeded bars, what is ordered when, and by which of our options
``ours``                a case on nbbacktest
``peers/``              one adapter an engine, and the process that runs it in the peer's environment
``compare``             two engines' fills side by side
======================  =================================================================================

Peers run in `benchmarks.environments`, outside of the package's own.
"""
