"""Records at rest: what a store takes from the watched process, and what it gives back later.

`location` says where it is. In the watched process `intake` takes from the pipeline, and on the
background thread `recorder` feeds a writer; those who ask later open a reader. `model` has what both sides
of every kind of store have in common; `sqlite` and `sqlite_reader` are the kind that is always there.
"""
