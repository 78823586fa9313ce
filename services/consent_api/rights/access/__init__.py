"""Access and portability (GDPR, articles 15 and 20): all that this installation holds about a person, as a file."""
