"""One channel's suppression list, local and always fresh."""
