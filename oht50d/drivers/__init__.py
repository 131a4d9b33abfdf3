"""The only place with file descriptors, sockets and threads; drivers have no policy."""
