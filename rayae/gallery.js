"use strict";
// The gallery of a report: sorts, filters and pages through the rows that stand in the page as JSON. Cards with pictures
// stand in the page already; those of other rows are made when they are first shown. Text enters the page as text only.
(() => {
  const ON_A_PAGE = 24;
  const byId = (id) => document.getElementById(id);
  const rows = JSON.parse(byId("gallery-rows").textContent);
  const list = byId("gallery-cards");
  const words = byId("gallery-text");
  const sorts = byId("gallery-sort");
  const turned = byId("gallery-turned");
  const picks = { group: byId("gallery-group"), label: byId("gallery-label"), flagged: byId("gallery-flagged") };
  const cards = new Map([...list.children].map((card, place) => [place, card]));
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  const SORTS = {
    rank: (one, other) => one - other,
    score: (one, other) => rows[other].score - rows[one].score,
    p: (one, other) => rows[one].p - rows[other].p,
    group: (one, other) => compare(rows[one].group, rows[other].group),
    uri: (one, other) => compare(rows[one].uri, rows[other].uri),
  };
  const NONE = "(none)";
  const named = (value) => (value === null ? NONE : String(value));
  let found = [];
  let page = 0;

  function option(select, value) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = value;
    select.append(made);
  }

  // A choice of one of the values of a column; none where there is nothing to choose.
  function fill(name) {
    const values = [...new Set(rows.map((row) => named(row[name])))].sort(compare);
    values.forEach((value) => option(picks[name], value));
    picks[name].parentElement.hidden = values.length < 2;
  }

  function matches(row) {
    const text = [row.uri, row.group, row.label].filter((part) => part !== null).join("\n").toLowerCase();
    return (
      words.value.toLowerCase().split(/\s+/).every((word) => text.includes(word)) &&
      Object.entries(picks).every(([name, pick]) => pick.value === "" || named(row[name]) === pick.value)
    );
  }

  // Rows without the value come last, whichever way it is sorted; equal ones stay in the order of the report.
  function ordered(places) {
    const key = sorts.value;
    const has = (place) => key === "rank" || rows[place][key] !== null;
    const sign = turned.getAttribute("aria-pressed") === "true" ? -1 : 1;
    const sorted = places.filter(has).sort((one, other) => sign * SORTS[key](one, other) || one - other);
    return [...sorted, ...places.filter((place) => !has(place))];
  }

  function element(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  }

  function made(place) {
    const row = rows[place];
    const card = element("li", "card", "");
    const facts = element("div", "facts", "");
    facts.append(element("h3", "rank", place + 1), element("b", "", row.words[0]));
    if (row.words[1] !== null) facts.append(element("span", "", `p = ${row.words[1]}`));
    if (row.flagged !== null) {
      facts.append(element("span", row.flagged ? "chip" : "", row.flagged ? "flagged" : "not flagged"));
    }
    for (const name of ["label", "group"]) {
      if (row[name] === null) continue;
      const said = element("span", "", `${name} `);
      said.append(element("bdi", "", row[name]));
      facts.append(said);
    }
    const path = element(row.link === null ? "bdi" : "a", "path box", row.uri);
    path.dir = "ltr";
    if (row.link !== null) {
      path.href = row.link;
      path.target = "_blank";
      path.rel = "noopener noreferrer";
    }
    card.append(facts, path);
    card.tabIndex = -1;
    return card;
  }

  function card(place) {
    if (!cards.has(place)) cards.set(place, made(place));
    return cards.get(place);
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(found.length / ON_A_PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const first = page * ON_A_PAGE;
    const shown = found.slice(first, first + ON_A_PAGE);
    list.replaceChildren(...shown.map(card));
    const count = (number) => number.toLocaleString("en");
    const of = found.length === rows.length ? "" : `, of ${count(rows.length)}`;
    const range = `${count(first + 1)} to ${count(first + shown.length)} of ${count(found.length)}${of}`;
    byId("gallery-status").textContent = found.length ? range : `No image fits, of ${count(rows.length)}`;
    document.querySelectorAll(".turns").forEach((turns) => (turns.hidden = pages === 1));
    for (const [name, at] of [["before", 0], ["after", pages - 1]]) {
      document.querySelectorAll(`.turn-${name}`).forEach((button) => (button.disabled = page === at));
    }
  }

  function search() {
    found = ordered([...rows.keys()].filter((place) => matches(rows[place])));
    draw();
  }

  // What is chosen stands behind the `#` of the address, so that it can be sent to somebody.
  function note() {
    const chosen = new URLSearchParams();
    if (sorts.value !== "rank") chosen.set("sort", sorts.value);
    if (turned.getAttribute("aria-pressed") === "true") chosen.set("turned", "1");
    if (words.value) chosen.set("filter", words.value);
    Object.entries(picks).forEach(([name, pick]) => pick.value && chosen.set(name, pick.value));
    if (page) chosen.set("page", page + 1);
    history.replaceState(null, "", `#${chosen}`);
  }

  function choose(select, value) {
    select.value = [...select.options].some((one) => one.value === value) ? value : select.options[0].value;
  }

  function recall() {
    const chosen = new URLSearchParams(location.hash.slice(1));
    choose(sorts, chosen.get("sort") ?? "");
    turned.setAttribute("aria-pressed", String(chosen.get("turned") === "1"));
    words.value = chosen.get("filter") ?? "";
    Object.entries(picks).forEach(([name, pick]) => choose(pick, chosen.get(name) ?? ""));
    page = (parseInt(chosen.get("page") ?? "1", 10) || 1) - 1;
    search();
  }

  function changed() {
    page = 0;
    search();
    note();
  }

  function turn(by) {
    page += by;
    draw();
    note();
  }

  // The next card that an arrow leads to, on another page when this one ends.
  function step(by) {
    const here = [...list.children].findIndex((card) => card.contains(document.activeElement));
    const next = here < 0 ? 0 : page * ON_A_PAGE + here + by;
    if (next < 0 || next >= found.length) return;
    if (here >= 0 && Math.floor(next / ON_A_PAGE) !== page) {
      page = Math.floor(next / ON_A_PAGE);
      draw();
      note();
    }
    list.children[here < 0 ? 0 : next % ON_A_PAGE].focus();
  }

  function reset() {
    words.value = "";
    Object.values(picks).forEach((pick) => (pick.value = ""));
    document.activeElement.blur();
    changed();
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches("input, select");
    const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
    const isOnCard = list.contains(document.activeElement);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ...(isOnCard ? { ArrowUp: -columns, ArrowDown: columns } : {}) };
    if (event.key === "/" && !isTyping) words.focus();
    else if (event.key === "Escape") reset();
    else if (event.key in steps && !isTyping && !event.target.closest(".wide")) step(steps[event.key]);
    else if (event.key === "Enter" && event.target.parentElement === list) event.target.querySelector("a")?.click();
    else return;
    event.preventDefault();
  }

  ["group", "label", "flagged"].forEach(fill);
  sorts.querySelector("[value=group]").hidden = rows.every((row) => row.group === null);
  sorts.querySelector("[value=p]").hidden = rows.every((row) => row.p === null);
  words.addEventListener("input", changed);
  [sorts, ...Object.values(picks)].forEach((select) => select.addEventListener("change", changed));
  turned.addEventListener("click", () => {
    turned.setAttribute("aria-pressed", String(turned.getAttribute("aria-pressed") !== "true"));
    changed();
  });
  document.querySelectorAll(".turn-before").forEach((button) => button.addEventListener("click", () => turn(-1)));
  document.querySelectorAll(".turn-after").forEach((button) => button.addEventListener("click", () => turn(1)));
  document.addEventListener("keydown", pressed);
  window.addEventListener("hashchange", recall);
  byId("gallery-controls").hidden = false;
  recall();
})();
