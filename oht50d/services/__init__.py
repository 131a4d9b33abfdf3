"""Long-lived tasks that join drivers through the ports in `ports.py`."""
