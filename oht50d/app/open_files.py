"""How many files this process may have open (no state). Source: getrlimit(2), RLIMIT_NOFILE."""

import resource
from contextlib import suppress

ENOUGH = 4096


def raise_file_limit() -> int:
    """Raise the soft limit to the hard one, to `ENOUGH` at most; returns the limit in force. Never raises.

    Without files to open a lost serial port cannot be reopened, so clients must not be able to use them up easily.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may forbid it; the unit sets the limit itself
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
