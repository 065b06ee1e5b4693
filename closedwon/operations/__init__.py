"""What operators do and see, as functions: commands to orders, limits of ERPs, the overview, the doctor's findings.

They speak to Temporal and return values; the command line shows them. Nothing here prints or asks.
"""
