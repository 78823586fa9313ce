"""What people say to a channel tool: its webhooks, read and recorded."""
