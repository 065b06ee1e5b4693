"""The audit: do Salesforce, the ERPs and Temporal tell the same of every deal?

`gather.audit` asks all three and has `judge` compare; `mend` starts what a workflow can put right. Used by
`closedwon audit`, by the demo, and as the judge of the tests that kill things.
"""
