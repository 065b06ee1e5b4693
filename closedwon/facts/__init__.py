"""What is so, right now: the one place that finds it out, for `doctor`, `top`, `orders show`, `/readyz`, metrics.

Functions ask Temporal, the orgs or files, and return facts as data. What reports a state takes it from here,
so that no two reports can disagree.
"""
