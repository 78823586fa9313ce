"""The list: merges decisions into the suppression topics, and answers from them."""
