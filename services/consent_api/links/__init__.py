"""What a person is sent: one-click links and the preference centre. Each choice is recorded as any other."""
