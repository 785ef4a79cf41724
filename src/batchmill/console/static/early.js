// What a visitor does between a page's first sight and its scripts' readiness is held, and done
// then: a button would do nothing before, and the browser would send a form by itself.
"use strict";
(() => {
  const ours = "button, [data-dialog], [hx-get], [hx-post], [hx-put], [hx-patch], [hx-delete]";
  const held = [];

  function hold(event) {
    if (!(event.target instanceof Element) || !event.target.closest(ours)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    held.push(event);
  }

  function redo(event) {
    if (event.type === "click") event.target.click();
    else if (event.type === "submit") event.target.requestSubmit(event.submitter);
    else event.target.dispatchEvent(new Event(event.type, { bubbles: true }));
  }

  const kinds = ["click", "submit", "change"];
  for (const kind of kinds) addEventListener(kind, hold, { capture: true });
  // htmx has the whole page in hand, after every deferred script has run.
  addEventListener("htmx:load", () => {
    for (const kind of kinds) removeEventListener(kind, hold, { capture: true });
    held.forEach(redo);
  }, { once: true });
})();
