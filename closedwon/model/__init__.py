"""The vocabulary of Closedwon as frozen models, by subject. No input or output here, and no Temporal.

Everything that crosses a process border (workflow input, activity argument and result, signal) is one of these. They
may gain optional fields; from the release on a field is never renamed or removed, since old workflow histories hold it.
Money is `Decimal` with its currency beside it; every time is aware.
"""
