"""Jobs in, records out: on this machine or on a Ray cluster."""
