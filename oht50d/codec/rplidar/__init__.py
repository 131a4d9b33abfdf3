"""The RPLIDAR serial protocol, sans-IO: requests, answers, measurement packets, and the host's parser."""
