"""The status page: the path of an event as it is now, from the metrics of all processes."""
