// What the keyboard must get to on a page, in the order in which it stands there. Run as a whole;
// its value is the functions that a test calls. "from" is the element that holds them all.
(() => {
  const KINDS = "a[href], button, input, select, textarea, summary, [tabindex]";

  function isOpen(element) {
    const usable = !element.disabled && element.tabIndex >= 0 && element.type !== "hidden";
    return usable && element.checkVisibility({ visibilityProperty: true });
  }

  // Of several radio buttons the keyboard gets to one, and from there to the others.
  function stands(element) {
    if (element.type !== "radio") return true;
    const group = [...document.getElementsByName(element.name)].filter((one) => one.form === element.form);
    return element === (group.find((one) => one.checked) || group[0]);
  }

  function name(element) {
    const text = (element.getAttribute("aria-label") || element.textContent || element.name || "").trim();
    return `<${element.localName}${element.id ? `#${element.id}` : ""}> ${text.slice(0, 40)}`;
  }

  function isMarked(element) {
    const looks = getComputedStyle(element);
    return (looks.outlineStyle !== "none" && parseFloat(looks.outlineWidth) > 0) || looks.boxShadow !== "none";
  }

  window.walk = {
    goals: [],
    begin(from) {
      this.goals = [...document.querySelector(from).querySelectorAll(KINDS)].filter(isOpen).filter(stands);
      return this.goals.map(name);
    },
    // Where the focus is: the place among the goals (-1: nowhere), its name, whether one sees it.
    here() {
      const at = document.activeElement;
      return { place: this.goals.indexOf(at), name: name(at), isMarked: isMarked(at), isBody: at === document.body };
    },
  };
})();
