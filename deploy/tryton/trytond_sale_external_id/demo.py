"""A demo company in an empty Tryton database, for `closedwon test-erp tryton`. Not part of the module that a server loads.

    python -m trytond_sale_external_id.demo build       CONFIG DATABASE
    python -m trytond_sale_external_id.demo credentials CONFIG DATABASE  < {"key", "login", "password", "admin_password"}

`build` makes company, chart of accounts, tax, payment term, countries, products and the user that Closedwon works as.
`credentials` replaces every secret of the database, so that a database copied from a cache has secrets of its own.
Facts about Tryton's wizards and templates are from the modules' own scenario tests (series 8.2).
"""

import datetime
import json
import sys
from decimal import Decimal

from proteus import Model, Wizard
from proteus import config as proteus_config

USER = "closedwon"
PRODUCTS = (
    ("GC1040", "Generator 10 kW", "goods", "5000.00"),
    ("GC3020", "Generator 20 kW", "goods", "9500.00"),
    ("SL9080", "SLA: Platinum", "service", "1200.00"),
)
COUNTRIES = {
    "AR": "Argentina", "AT": "Austria", "AU": "Australia", "BE": "Belgium", "BR": "Brazil", "CA": "Canada",
    "CH": "Switzerland", "CL": "Chile", "CN": "China", "CO": "Colombia", "CZ": "Czechia", "DE": "Germany",
    "DK": "Denmark", "ES": "Spain", "FI": "Finland", "FR": "France", "GB": "United Kingdom", "GR": "Greece",
    "HK": "Hong Kong", "HU": "Hungary", "IE": "Ireland", "IL": "Israel", "IN": "India", "IT": "Italy", "JP": "Japan",
    "KR": "Korea, Republic of", "LU": "Luxembourg", "MX": "Mexico", "NL": "Netherlands", "NO": "Norway",
    "NZ": "New Zealand", "PL": "Poland", "PT": "Portugal", "RO": "Romania", "SE": "Sweden", "SG": "Singapore",
    "TR": "Türkiye", "TW": "Taiwan", "US": "United States", "ZA": "South Africa",
}  # fmt: skip


def build(config):
    euro = _currency("Euro", "€", "EUR", Decimal(1))
    _currency("US Dollar", "$", "USD", Decimal("1.1"))
    company = _company(config, euro)
    accounts = _accounts(config, company)
    _products(accounts, _tax())
    _selling()
    Country = Model.get("country.country")
    Country.save([Country(code=code, name=name) for code, name in COUNTRIES.items()])
    _user(company)


def _currency(name, symbol, code, rate):
    currency = Model.get("currency.currency")(name=name, symbol=symbol, code=code, rounding=Decimal("0.01"))
    currency.save()
    Model.get("currency.currency.rate")(date=datetime.date(2000, 1, 1), rate=rate, currency=currency).save()
    return currency


def _company(config, currency):
    party = Model.get("party.party")(name="Demo Company")
    party.save()
    wizard = Wizard("company.company.config")
    wizard.execute("company")
    wizard.form.party, wizard.form.currency = party, currency
    wizard.execute("add")
    config._context = Model.get("res.user").get_preferences(True, {})
    (company,) = Model.get("company.company").find()
    return company


def _accounts(config, company):
    """The generic chart of accounts that ships with `account`."""
    template_id = Model.get("ir.model.data").get_id("account.account_template_root_en", config.context)
    wizard = Wizard("account.create_chart")
    wizard.execute("account")
    wizard.form.account_template = Model.get("account.account.template")(template_id)
    wizard.form.company = company
    wizard.execute("create_account")
    Account = Model.get("account.account")
    accounts = {
        kind: Account.find([(f"type.{kind}", "=", True), ("closed", "!=", True)], limit=1)[0]
        for kind in ("receivable", "payable", "revenue", "expense")
    }
    if accounts["receivable"].party_required:
        wizard.form.account_receivable = accounts["receivable"]
    if accounts["payable"].party_required:
        wizard.form.account_payable = accounts["payable"]
    wizard.form.category_account_revenue = accounts["revenue"]
    wizard.form.category_account_expense = accounts["expense"]
    wizard.execute("create_properties")
    return accounts


def _tax():
    (account,) = Model.get("account.account").find([("code", "=", "6.3.6")], limit=1)
    tax = Model.get("account.tax")(
        name="VAT 20%",
        description="VAT 20%",
        type="percentage",
        rate=Decimal(".20"),
        invoice_account=account,
        credit_note_account=account,
    )
    tax.save()
    return tax


def _products(accounts, tax):
    category = Model.get("product.category")(
        name="Sellable",
        accounting=True,
        account_revenue=accounts["revenue"],
        account_expense=accounts["expense"],
    )
    category.customer_taxes.append(Model.get("account.tax")(tax.id))
    category.save()
    (unit,) = Model.get("product.uom").find([("symbol", "=", "u")], limit=1)
    for code, name, kind, price in PRODUCTS:
        Model.get("product.template")(
            name=name,
            code=code,
            type=kind,
            salable=True,
            default_uom=unit,
            list_price=Decimal(price),
            account_category=category,
        ).save()


def _selling():
    """Net 30 for all customers; a confirmed sale creates its draft invoice and its shipment."""
    term = Model.get("account.invoice.payment_term")(name="Net 30")
    term.lines.new(type="remainder").relativedeltas.new(days=30)
    term.save()
    configuration = Model.get("account.configuration")(1)
    configuration.default_customer_payment_term = term
    configuration.save()


def _user(company):
    user = Model.get("res.user")(name="Closedwon", login=USER)
    user.companies.append(Model.get("company.company")(company.id))
    user.company = company
    user.groups.extend(Model.get("res.group").find([("name", "=", "Sales")]))
    user.save()


def credentials(secrets):
    User, Application = Model.get("res.user"), Model.get("res.user.application")
    (user,) = User.find([("login", "in", [USER, secrets["login"]])])
    user.login, user.password = secrets["login"], secrets["password"]
    user.save()
    (admin,) = User.find([("login", "=", "admin")])
    admin.password = secrets["admin_password"]
    admin.save()
    for application in Application.find([]):
        application.click("cancel")
    Application(user=user, application="rest", key=secrets["key"]).save()


def main():
    command, config_file, database = sys.argv[1:]
    config = proteus_config.set_trytond(database, config_file=config_file)
    if command == "build":
        build(config)
    else:
        credentials(json.load(sys.stdin))


if __name__ == "__main__":
    main()
