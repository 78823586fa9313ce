"""What `consent-relay doctor` is made of: results, the runner of checks, and the checks that need no server."""
