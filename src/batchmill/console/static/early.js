// What a visitor does between a page's first sight and its scripts' readiness is held, and done
// then: a button would do nothing before, and the browser would send a form by itself.
"use strict";
(() => {
  // By the kind of event, what waits for the scripts. Other links need none.
  const waiting = { click: "button, [data-dialog]", submit: "form", input: "form", change: "form, select" };
  const edited = new Set();
  const acts = [];

  function hold(event) {
    if (!(event.target instanceof Element) || !event.target.closest(waiting[event.type])) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === "click" || event.type === "submit") acts.push(event);
    else edited.add(event.target);
  }

  // What was typed is a change too: a field that htmx finds filled has no input that it missed.
  function redo() {
    for (const field of edited) field.dispatchEvent(new Event("change", { bubbles: true }));
    for (const { type, target, submitter } of acts) {
      if (type === "click") target.click();
      else target.requestSubmit(submitter);
    }
  }

  for (const kind in waiting) addEventListener(kind, hold, { capture: true });
  // htmx has the whole page in hand, after every deferred script has run.
  addEventListener("htmx:load", () => {
    for (const kind in waiting) removeEventListener(kind, hold, { capture: true });
    redo();
  }, { once: true });
})();
