"""HTTP servers: bounded requests, problem details, API keys, rate limits, the description of an API."""
