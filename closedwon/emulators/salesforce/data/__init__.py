"""The schema and the records of the Salesforce emulator, and SOQL over them."""
