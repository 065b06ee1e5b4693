"""The org's page at `/`: what a salesperson and an administrator see and press in a real org's browser.

`views` reads what is shown, `actions` does what a button says, `pages` maps requests to both. No fault applies to
what a person does here, and the page is shown while the org is down, so that the fault can be turned off.
"""

from closedwon.emulators.salesforce.page.pages import OrgPages

__all__ = ["OrgPages"]
