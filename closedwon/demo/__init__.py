"""The whole world on one laptop: Temporal, a Salesforce org, an ERP and Closedwon as child processes.

For `closedwon demo` and for the tests that kill things. Nothing that runs in production imports this.
"""
