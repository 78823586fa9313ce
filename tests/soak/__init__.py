"""The whole system under a steady load for minutes or hours: whether anything grows (`make soak`)."""
