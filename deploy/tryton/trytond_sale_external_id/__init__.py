"""Tryton module `sale_external_id`: a unique external ID on sales."""
