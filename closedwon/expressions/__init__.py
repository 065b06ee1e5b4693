"""The expressions of the settings: JMESPath with exact numbers, and functions on amounts and dates."""

from closedwon.expressions.evaluation import check, evaluate, exact, json_number, paths, reads_itself
from closedwon.expressions.functions import ExpressionError, to_text

__all__ = ["ExpressionError", "check", "evaluate", "exact", "json_number", "paths", "reads_itself", "to_text"]
