"""The journal of a run: what it began with and what was done to it, on disk, so that a killed run can be gone on with.

`lines` is its file, `folder` the place where runs lie, `writer` writes the present run's, `facts` says what a run began with,
`recovery` goes on with a run that was killed, or repeats it.
"""
