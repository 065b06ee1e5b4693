"""Automation and pushes of the Salesforce emulator.

`flows` decides which rules a write triggers. `outbound` stores definitions and the queue, `courier` delivers it with
retries; `messages` and `callouts` write the requests.
"""
