"""The protocol, pure: generators that yield effects and decide on what comes back.

Nothing in here has a clock, a thread, a socket or a random number of its own; a driver (``tasklock.transport``, or a
simulator) performs each effect and sends its outcome back in. So what is proven about these objects holds for the
library, and the same objects serve threads and tasks.

The rules are those of a lease with an owner: see ``acquire`` (create if absent, wait by watch, take over what is
observed to be stale), ``grant`` (renew, know first when it is lost), ``release`` (delete one's own incarnation only).
"""
