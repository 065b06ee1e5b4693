// Says when the server no longer answers, so that an old picture is not mistaken for the present state.
"use strict";
const mark = (stale) => document.body.classList.toggle("stale", stale);
document.addEventListener("htmx:sendError", () => mark(true));
document.addEventListener("htmx:responseError", () => mark(true));
document.addEventListener("htmx:afterOnLoad", () => mark(false));
