"""The event bus of the Salesforce emulator, by CometD."""
