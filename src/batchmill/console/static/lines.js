// Lines open beside their list where there is room for both; elsewhere the link leads to a page.
"use strict";
(() => {
  const roomy = matchMedia("(min-width: 1100px)");
  const browse = document.getElementById("browse");
  let opener = null;

  function mark(link) {
    for (const row of browse.querySelectorAll("tr[data-open]")) delete row.dataset.open;
    if (link) link.closest("tr").dataset.open = "";
  }

  async function open(link) {
    opener = link.closest("tr").id;
    mark(link);
    await htmx.ajax("GET", link.href, { target: "#line-panel", swap: "outerHTML" });
    const title = document.getElementById("line-title");
    if (!title) return mark(null);
    browse.classList.add("open");
    title.focus();
  }

  function close() {
    const panel = document.getElementById("line-panel");
    panel.hidden = true;
    panel.replaceChildren();
    browse.classList.remove("open");
    mark(null);
    const link = document.getElementById(opener)?.querySelector("a[data-line]");
    if (link) link.focus();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-line]");
    const isPlain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    if (link && isPlain && roomy.matches) {
      event.preventDefault();
      open(link);
    }
    if (event.target.closest("[data-close-panel]")) close();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && browse.classList.contains("open") && !document.querySelector("dialog[open]")) close();
  });
})();
