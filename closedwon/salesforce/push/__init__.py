"""What Salesforce sends to us: outbound messages and Apex callouts.

- `outbound` reads messages, `contract` reads and writes their WSDL.
- `callout` reads callouts, `callout_contract` describes them, `signature` verifies who sent them.
- `soap` parses untrusted SOAP for both.

No input or output here: bytes in, models out.
"""
