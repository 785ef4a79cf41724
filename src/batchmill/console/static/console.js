// What every page does: dialogs, confirmations, theme, time zone, copying, and a word when the
// server is away. No page needs more than this, htmx, and what its own script adds.
"use strict";
(() => {
  const base = document.body.dataset.base;
  const year = 60 * 60 * 24 * 365;

  function keep(name, value) {
    document.cookie = `batchmill_${name}=${encodeURIComponent(value)}; path=${base}; max-age=${year}; samesite=lax`;
  }

  keep("zone", Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");

  // --- theme: as the system has it, until one is chosen ---

  const root = document.documentElement;
  const themeButton = document.getElementById("theme");

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function nameTheme() {
    themeButton.textContent = isDark() ? "Light theme" : "Dark theme";
  }

  if (themeButton) {
    nameTheme();
    themeButton.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      keep("theme", root.dataset.theme);
      nameTheme();
      document.dispatchEvent(new Event("themechange"));
    });
  }

  // --- tooltips: placed by hand, for a table would cut off what reaches over its edge ---

  function placeTip(event) {
    const tip = event.target instanceof Element && event.target.closest(".tip");
    if (!tip) return;
    const text = tip.querySelector("[role=tooltip]");
    const at = tip.getBoundingClientRect();
    const fits = at.bottom + 6 + text.offsetHeight < innerHeight;
    const left = Math.min(at.left, innerWidth - text.offsetWidth - 8);
    text.style.left = `${Math.max(8, left)}px`;
    text.style.top = `${fits ? at.bottom + 6 : Math.max(8, at.top - 6 - text.offsetHeight)}px`;
  }

  document.addEventListener("mouseover", placeTip);
  document.addEventListener("focusin", placeTip);

  // --- dialogs ---

  const confirmation = document.getElementById("confirm");
  document.addEventListener("htmx:confirm", (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    document.getElementById("confirm-question").textContent = event.detail.question;
    document.getElementById("confirm-yes").textContent = event.target.dataset.confirmWord || "Confirm";
    confirmation.returnValue = "no";
    confirmation.addEventListener("close", () => {
      if (confirmation.returnValue === "yes") event.detail.issueRequest(true);
    }, { once: true });
    confirmation.showModal();
  });

  // A link with data-dialog opens what it links to in a dialog; without this script it is a page.
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) {
      event.preventDefault();
      openDialog(opener.dataset.dialog);
    }
    const closer = event.target.closest("[data-close]");
    if (closer) closer.closest("dialog").close();
    const copier = event.target.closest("[data-copy]");
    if (copier) copyText(copier);
  });

  async function openDialog(url) {
    const dialog = document.getElementById("dialog");
    await htmx.ajax("GET", url, { target: "#dialog-body", swap: "innerHTML" });
    if (!dialog.open && document.getElementById("dialog-title")) dialog.showModal();
  }
  window.openDialog = openDialog;

  // A message of an open dialog is said in it: the page behind cannot be read meanwhile.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const dialog = document.getElementById("dialog");
    const said = document.getElementById("dialog-messages");
    if (!dialog) return;
    if (dialog.open && event.detail.target.id === "messages") event.detail.target = said;
    else if (dialog.contains(event.detail.target)) said.replaceChildren();
  });

  // What is shown once is gone with its dialog.
  document.getElementById("dialog")?.addEventListener("close", (event) => {
    event.target.querySelector("[data-once]")?.remove();
  });

  async function copyText(button) {
    if (navigator.clipboard) await navigator.clipboard.writeText(button.dataset.copy);
    else copyBySelection(button);
    button.dataset.word ||= button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = button.dataset.word; }, 1500);
  }

  // Over plain HTTP from another machine a browser has no clipboard to write to.
  function copyBySelection(button) {
    const field = document.createElement("textarea");
    field.value = button.dataset.copy;
    button.after(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }

  // --- requests ---

  const offline = document.getElementById("offline");
  if (offline) {
    document.addEventListener("htmx:sendError", () => { offline.hidden = false; });
    document.addEventListener("htmx:afterOnLoad", () => { offline.hidden = true; });
  }

  // Addresses are shared: what is not filtered by does not stand in them.
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb !== "get") return;
    for (const name of [...event.detail.formData.keys()]) {
      const values = event.detail.formData.getAll(name).filter((value) => value !== "");
      event.detail.formData.delete(name);
      for (const value of values) event.detail.formData.append(name, value);
    }
  });

  // What a visitor opened stays open when the page is renewed.
  if (window.Idiomorph) {
    const updated = Idiomorph.defaults.callbacks.beforeAttributeUpdated;
    Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node, change) =>
      name === "open" && node.matches("details, dialog") ? false : updated(name, node, change);
  }

  const renewed = new WeakSet();

  // Nobody looks: nobody needs to ask.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const trigger = event.target.getAttribute("hx-trigger") || "";
    if (document.hidden && trigger.startsWith("every")) event.preventDefault();
    else if (trigger.startsWith("every")) renewed.add(event.target);
  });

  // A part that was renewed meanwhile, or is asked for with other filters, has outlived the answer.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig, pathInfo } = event.detail;
    const isRenewal = requestConfig.elt === target && renewed.has(target);
    if (isRenewal && target.getAttribute("hx-get") !== pathInfo.requestPath) event.detail.shouldSwap = false;
  });
})();
