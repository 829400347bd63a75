"use strict";
// Shows a mark's details in a card: the page can be read without it, the details then are tooltips of the browser.
{
  const card = document.getElementById("card");
  const marks = [...document.querySelectorAll(".text span")];
  let current = null;

  const element = (name, text, parent) => {
    const made = document.createElement(name);
    made.textContent = text;
    parent.append(made);
    return made;
  };

  const details = mark => {
    if (mark.hasAttribute("title")) {
      mark.dataset.details = mark.title;
      mark.removeAttribute("title");
    }
    return mark.dataset.details.split("\n");
  };

  const fill = lines => {
    card.replaceChildren();
    const rows = lines.filter(line => line.endsWith("%"));
    lines.slice(0, lines.length - rows.length).forEach(line => element("p", line, card));
    if (!rows.length) return;
    const table = element("table", "", card);
    for (const row of rows) {
      const cut = row.lastIndexOf(" ");
      const line = table.insertRow();
      element("th", row.slice(0, cut), line).scope = "row";
      element("td", row.slice(cut + 1), line);
      element("i", "", element("td", "", line)).style.width = row.slice(cut + 1).replace("<", "");
    }
  };

  const show = mark => {
    if (mark === current) return;
    hide();
    current = mark;
    fill(details(mark));
    card.hidden = false;
    mark.setAttribute("aria-describedby", "card");
    put();
  };

  const put = () => {
    const place = current.getClientRects()[0];
    const below = place.bottom + 8;
    const fits = below + card.offsetHeight < innerHeight || place.top < card.offsetHeight + 8;
    card.style.top = `${fits ? below : place.top - 8 - card.offsetHeight}px`;
    card.style.left = `${Math.max(8, Math.min(place.left, innerWidth - 8 - card.offsetWidth))}px`;
  };

  const hide = () => {
    if (current) current.removeAttribute("aria-describedby");
    current = null;
    card.hidden = true;
  };

  const go = (from, to) => {
    if (!to) return;
    from.removeAttribute("tabindex");
    to.tabIndex = 0;
    to.focus();
  };

  const beside = (mark, step) => {
    for (let line = mark.closest("li"); line; ) {
      line = step < 0 ? line.previousElementSibling : line.nextElementSibling;
      const first = line && line.querySelector(".text span");
      if (first) return first;
    }
    return null;
  };

  const moves = {
    ArrowRight: mark => marks[marks.indexOf(mark) + 1],
    ArrowLeft: mark => marks[marks.indexOf(mark) - 1],
    ArrowDown: mark => beside(mark, 1),
    ArrowUp: mark => beside(mark, -1),
    Home: mark => mark.parentElement.querySelector("span"),
    End: mark => [...mark.parentElement.querySelectorAll("span")].pop(),
  };

  const mark = event => event.target.closest && event.target.closest(".text span");
  document.addEventListener("pointerover", event => (mark(event) ? show(mark(event)) : hide()));
  document.addEventListener("focusin", event => mark(event) && show(mark(event)));
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", () => current && put(), { passive: true });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") hide();
    if (!mark(event) || !(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    go(mark(event), moves[event.key](mark(event)));
  });

  if (marks.length) {
    marks[0].tabIndex = 0;
    document.getElementById("keys").hidden = false;
  }
}
