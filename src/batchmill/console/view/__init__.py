"""What pages show, worked out of what the services said. Pure: no requests, no services."""
