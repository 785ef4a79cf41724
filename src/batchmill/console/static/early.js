// What a visitor does between a page's first sight and its scripts' readiness is held, and done
// then: a button would do nothing before, and the browser would send a form by itself.
"use strict";
(() => {
  const ours = "button, [data-dialog], [hx-get], [hx-post], [hx-put], [hx-patch], [hx-delete]";
  const edited = new Set();
  const held = [];

  function hold(event) {
    if (!(event.target instanceof Element) || !event.target.closest(ours)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === "click" || event.type === "submit") held.push(event);
    else edited.add(event.target);
  }

  // What was typed is a change too: a field that htmx finds filled has no input that it missed.
  function redo() {
    for (const field of edited) field.dispatchEvent(new Event("change", { bubbles: true }));
    for (const { type, target, submitter } of held) {
      if (type === "click") target.click();
      else target.requestSubmit(submitter);
    }
  }

  const kinds = ["click", "submit", "input", "change"];
  for (const kind of kinds) addEventListener(kind, hold, { capture: true });
  // htmx has the whole page in hand, after every deferred script has run.
  addEventListener("htmx:load", () => {
    for (const kind of kinds) removeEventListener(kind, hold, { capture: true });
    redo();
  }, { once: true });
})();
