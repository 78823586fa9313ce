"""`consent-relay scrub`: divides a campaign's file into the lines that may be contacted and the others. (The scrub of
`consent_api/verify` is another one: it compares the lists with the ledger.)"""
