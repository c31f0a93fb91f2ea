"""How fast, how punctual and how large: ``python -m benchmarks.run --help`` is the one door (``make bench``).

========================  ==============================================================================
module                    its duty
========================  ==============================================================================
``run``                   the command: which measurements, how long, and where the report goes
``cases``                 what the engines are compared in: sizes, rules, and who can't take part, and why
``race``                  runs a case: every engine in fresh processes, in turn; refuses wrong results
``environments``          each peer's environment of its own, made once under ``.bench/``
``peers/``                one adapter an engine: the same rule in its own words
``task``, ``bars``        what an adapter is given: the rule's numbers, and the bars, by seed
``overhead``              what synchronization costs: three threads against one, and beside a busy thread
``latency``               how long a user waits: pause, resume, another thread, step
``clock``                 how punctual clock-driven mode is, and how fast it may go
``scale``                 cost and memory a bar, by bars, symbols and intervals
``streaming``             a dataset that is streamed against the same in memory
``rewind``                what looking back at a past instant costs
``table``, ``report``     tables, as Markdown and JSON, and between markers in ``docs/performance.md``
``plot``                  the picture on that page
========================  ==============================================================================

All that is made lies in ``.bench/``, which may be deleted.
"""
