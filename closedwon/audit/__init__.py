"""The audit: compare what Salesforce, the ERPs and Temporal have about every deal.

    collect   reads the records of the three systems, and returns the report (`collect.audit`)
    views     converts what was read to `facts`
    compare   compares the facts; `kinds` are the possible findings, `totals` counts correct totals
    repair    starts workflows for the findings that a workflow can fix

Used by `closedwon audit`, by the scheduled audit, by the demo, and at the end of tests that kill processes.
"""
