"""The rim: configuration, credentials, identity, sockets and clocks; the only place that imports ``kubernetes``.

``http.Api`` sends one request; ``driver.Driver`` performs the effects of a protocol generator in the calling thread.
Nothing of urllib3 or kubernetes leaves this package: what fails is a ``Reply`` of status 0, or a LockApiError.
"""
