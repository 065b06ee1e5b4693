"""The REST API of the Salesforce emulator: records, queries, jobs, login."""
