"""Map a Salesforce record to an order, and an order to the fields that are written back.

    reader        typed values from a record, by the route's expressions
    lines         the price of each line
    orders        the order, and what a notification is about
    write_back    the fields that are written to the record, and what they prove
    record        a record, opened once, and the decision what must happen to it

All functions are pure: data in, models out.
"""
