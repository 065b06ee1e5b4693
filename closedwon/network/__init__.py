"""How this process reaches other hosts: the same rules for every client.

No other module opens a connection to another host by itself; `tests/unit/network/test_one_home.py` finds any that does.

    http       one HTTP call with one deadline: connection, request, answer and body
    blocking   the same for simple-salesforce, which knows `requests` only
    proxies    which proxy a call uses (HTTPS_PROXY, ALL_PROXY, NO_PROXY; loopback addresses never)
    trust      one TLS context: which certificate authorities are trusted; read again when their files change
    failures   what went wrong, for people: name, refusal, time-out, certificate, proxy
    peers      the certificate that a server shows, and when it expires

The rules come from the environment variables that other programs use for them, too (docs/configure/network.md). Only
`closedwon.temporal.client` uses another transport (the SDK's own); it takes proxy, authorities and connect timeout from
here.
"""
