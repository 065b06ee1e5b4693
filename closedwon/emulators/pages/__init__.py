"""What the pages for people share: templates, style, and the protection against other sites' requests.

The pages of the Salesforce emulator, the stub ERP and the demo are rendered on the server. `htmx` (one file in
`static`, version 2.0.11, license 0BSD in `htmx.LICENSE`) replaces the parts that change; without JavaScript every
button still works, and a reload shows the present state. Nothing is built, and nothing is loaded from elsewhere.

- `guard`: who may see and change something: Host header, token, security headers.
- `site`: renders templates, serves `static`, answers polls, keeps the message for the next page.
"""

from closedwon.emulators.pages.guard import LOOPBACK, PageGuard, url_of, warning
from closedwon.emulators.pages.site import Notice, PageSite, web_address

__all__ = ["LOOPBACK", "Notice", "PageGuard", "PageSite", "url_of", "warning", "web_address"]
