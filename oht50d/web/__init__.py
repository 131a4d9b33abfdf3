"""The HTTP and WebSocket API and the operator's page; cannot reach a driver."""
