"""``tasklock demo``: real processes contend for real locks, one is killed, and their own reports are checked.

``stage`` starts and ends the processes, ``worker`` and ``server`` are what they run, ``story`` makes sense of what they
report, ``verdict`` checks it, ``view`` draws it, ``command`` directs.
"""
