"use strict";
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (name, className = "", text = "") => {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
};
// The link's token is kept in a cookie from here on, and in no history.
history.replaceState(null, "", "/");

const FIELDS = ["id", "names", "prompt", "group", "kept", "loss", "own", "measured", "distance", "verdict", "reason", "reviewer"];
const APART = 1; // predicted loss above which a picture is told apart
const grid = one("#grid"), viewer = one("#viewer"), ask = one("#ask"), sheet = one("#sheet");
let night = { pictures: [], groups: [] };
let chosen = []; // the pictures that the grid shows, in their order
let here = 0; // the place among them that the keys act on
let columns = 1, height = 1;

const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const number = (value) => value.toLocaleString("en");
const percent = (share) => `${Math.round(100 * share)}%`;
const say = (text) => (one("#said").textContent = text);

// The grid: only rows that the window shows exist, and only their pictures are asked for.
const rows = new Map(); // by number

const measure = () => {
  const narrow = matchMedia("(max-width: 760px)").matches, gap = narrow ? 14 : 18;
  const width = grid.clientWidth, least = narrow ? 130 : width > 1700 ? 208 : 168;
  columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  const side = (width - gap * (columns - 1)) / columns;
  height = Math.round(side + 7 + 23 + 2 + 37 + 3 + 18 + 26);
  grid.style.height = Math.ceil(chosen.length / columns) * height + "px";
  grid.setAttribute("aria-rowcount", Math.ceil(chosen.length / columns));
  grid.setAttribute("aria-colcount", columns);
  for (const row of rows.values()) row.remove();
  rows.clear();
};

const draw = () => {
  const top = grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(-top / height));
  const last = Math.min(Math.ceil(chosen.length / columns), Math.ceil((innerHeight - top) / height));
  const focused = Math.floor(here / columns); // stays, or the keys would lose their place
  for (const [row, element] of rows) {
    if ((row < first || row >= last) && row !== focused) { element.remove(); rows.delete(row); }
  }
  for (let row = first; row < last; row++) if (!rows.has(row)) rows.set(row, drawRow(row));
  clearTimeout(draw.later);
  draw.later = setTimeout(load, rows.size && one("#grid img.there") ? 60 : 0);
};
// What is scrolled past is not asked for: pictures come once the page is at rest.
const load = () => {
  for (const image of all("#grid img:not([src])")) {
    const box = image.getBoundingClientRect();
    if (box.bottom > 0 && box.top < innerHeight) image.src = image.dataset.source;
  }
};

const drawRow = (row) => {
  const element = make("div");
  element.setAttribute("role", "row");
  element.setAttribute("aria-rowindex", row + 1);
  element.style.top = row * height + "px";
  element.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  chosen.slice(row * columns, (row + 1) * columns).forEach((picture, column) => {
    element.append(drawTile(picture, row * columns + column, column));
  });
  grid.append(element);
  return element;
};

const drawTile = (picture, at, column) => {
  const tile = make("div", "tile"), frame = make("div", "picture"), image = new Image();
  tile.setAttribute("role", "gridcell");
  tile.setAttribute("aria-colindex", column + 1);
  tile.dataset.at = at;
  tile.tabIndex = at === here ? 0 : -1;
  image.alt = picture.prompt;
  image.decoding = "async";
  image.dataset.source = `/small/${picture.id}`;
  image.addEventListener("load", () => image.classList.add("there"));
  image.addEventListener("error", () => frame.classList.add("absent"));
  frame.append(image);
  const name = make("p", "reference"), line = make("div", "line"), prompt = make("p", "prompt", picture.prompt);
  name.append(make("bdi", "", picture.names[0]));
  if (picture.names.length > 1) name.append(make("span", "more", ` +${picture.names.length - 1}`));
  name.title = picture.names.join(", ");
  prompt.dir = "auto";
  prompt.title = picture.prompt;
  line.append(name);
  tile.append(frame, line, prompt, make("p", "steps", brief(picture)), make("span", "mark"));
  one(".steps", tile).classList.toggle("apart", picture.loss > APART);
  paint(tile, picture);
  return tile;
};
const facts = (picture) => [
  picture.kept ? "kept" : "new",
  picture.loss === null ? "" : `loses ${percent(picture.loss)}`,
  picture.measured === null ? "" : `lost ${percent(picture.measured)}, measured`,
  picture.measured === null && picture.distance !== null ? `${picture.distance.toFixed(2)} apart` : "",
].filter(Boolean).join(" · ");

// The same below a small picture, where there is room for half of it.
const brief = (picture) => {
  if (picture.distance === null) return facts(picture);
  if (picture.measured === null) return facts({ ...picture, loss: null });
  const predicted = picture.loss === null ? "" : `, predicted ${percent(picture.loss)}`;
  return `lost ${percent(picture.measured)}${predicted}`;
};

const paint = (tile, picture) => {
  tile.className = ["tile", picture.verdict, picture.unsaved ? "unsaved" : ""].filter(Boolean).join(" ");
  const mark = one(".mark", tile);
  mark.className = picture.verdict ? `mark state ${picture.verdict}` : "mark";
  mark.textContent = picture.verdict;
  tile.setAttribute("aria-label", [
    picture.names[0], picture.verdict || "no verdict yet", picture.reason, facts(picture), picture.prompt,
  ].filter(Boolean).join(", "));
};
const repaint = (picture) => {
  const tile = one(`.tile[data-at="${chosen.indexOf(picture)}"]`);
  if (tile) paint(tile, picture);
  if (viewer.open && chosen[here] === picture) showVerdict(picture);
  showCounts();
};

const go = (at, focus = true) => {
  if (!chosen.length) return;
  const before = one(`.tile[data-at="${here}"]`);
  if (before) before.tabIndex = -1;
  here = Math.max(0, Math.min(chosen.length - 1, at));
  const row = Math.floor(here / columns), bar = one(".tools").offsetHeight + 12;
  const top = grid.getBoundingClientRect().top + row * height;
  const pinned = matchMedia("(max-width: 760px)").matches ? 8 : bar;
  if (top < pinned) scrollBy({ top: top - pinned, behavior: "instant" });
  else if (top + height > innerHeight) scrollBy({ top: top + height - innerHeight, behavior: "instant" });
  draw();
  if (!rows.has(row)) rows.set(row, drawRow(row));
  const tile = one(`.tile[data-at="${here}"]`);
  tile.tabIndex = 0;
  if (focus && !viewer.open) tile.focus({ preventScroll: true });
};

// By how much sharing hurt a picture of the sample; others come last.
const badness = (picture) => picture.measured ?? picture.distance ?? -Infinity;

// Choosing which pictures are shown, and in which order.
const ORDERS = {
  plan: () => 0,
  worst: (a, b) => (b.loss ?? -1) - (a.loss ?? -1),
  measured: (a, b) => badness(b) - badness(a) || 0,
  reference: (a, b) => a.names[0].localeCompare(b.names[0], "en", { numeric: true }),
};
const KINDS = {
  "": () => true,
  new: (each) => !each.kept,
  kept: (each) => each.kept,
  apart: (each) => each.loss > APART,
  measured: (each) => each.distance !== null,
};
const choose = () => {
  const value = (name) => one(`#${name}`).value;
  const words = value("words").toLowerCase().split(/\s+/).filter(Boolean);
  const verdict = value("verdict"), kind = KINDS[value("kind")], group = value("group");
  chosen = night.pictures.filter((each) =>
    (!verdict || (verdict === "none" ? !each.verdict : each.verdict === verdict))
    && kind(each) && (group === "" || each.group === Number(group))
    && words.every((word) => each.text.includes(word)));
  if (value("order") !== "plan") chosen = [...chosen].sort(ORDERS[value("order")]);
  here = 0;
  one("#nothing").hidden = chosen.length > 0;
  const whole = chosen.length === night.pictures.length;
  one("#found").textContent = whole ? count(chosen.length, "picture")
    : `${number(chosen.length)} of ${count(night.pictures.length, "picture")}`;
  measure();
  draw();
};

const showCounts = () => {
  const total = night.pictures.length, given = { accepted: 0, rejected: 0 };
  for (const each of night.pictures) if (each.verdict) given[each.verdict]++;
  const done = given.accepted + given.rejected;
  one("#counts").textContent = `${number(done)} of ${number(total)} reviewed · `
    + `${number(given.accepted)} accepted · ${number(given.rejected)} rejected`;
  const bar = one(".progress");
  bar.setAttribute("aria-valuenow", total ? Math.round((100 * done) / total) : 0);
  one(".good", bar).style.width = (100 * given.accepted) / (total || 1) + "%";
  one(".bad", bar).style.width = (100 * given.rejected) / (total || 1) + "%";
};

// Verdicts are written one after the other, in the order in which they were given.
const waiting = [];
let writing = false;
const give = (picture, verdict, reason = "") => {
  picture.verdict = verdict === "withdrawn" ? "" : verdict;
  picture.reason = reason;
  picture.unsaved = true;
  waiting.push({ picture, said: { name: picture.names[0], picture: picture.id, verdict, reason } });
  repaint(picture);
  say(`${picture.names[0]} ${verdict}`);
  write();
};
const write = async () => {
  if (writing) return;
  writing = true;
  while (waiting.length) {
    const { picture, said } = waiting[0];
    const fault = await post(said);
    if (fault) { complain(`The verdict on ${said.name} is not kept yet: ${fault}`); break; }
    waiting.shift();
    picture.unsaved = waiting.some((each) => each.picture === picture);
    one("#trouble").hidden = true;
    repaint(picture);
  }
  writing = false;
};
const post = async (said) => {
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("/verdicts", { method: "POST", headers, body: JSON.stringify(said) });
    return answer.ok ? "" : reasonOf(answer, await answer.text());
  } catch {
    return "the server does not answer; start `hierdiff review` again, on the same port";
  }
};
const reasonOf = (answer, text) => {
  try {
    return String(JSON.parse(text).detail);
  } catch {
    return text || `status ${answer.status}`;
  }
};
const complain = (text) => {
  one("#trouble p").textContent = text;
  one("#trouble").hidden = false;
};
one("#trouble button").addEventListener("click", () => (night.pictures.length ? write() : start()));
addEventListener("beforeunload", (event) => waiting.length && event.preventDefault());

const accept = () => { give(chosen[here], "accepted"); next(); };
const takeBack = () => chosen[here].verdict && give(chosen[here], "withdrawn");
const next = () => { if (here + 1 < chosen.length) viewer.open ? open(here + 1) : go(here + 1); };

// Why a picture is rejected; reasons that were given before are at hand.
const recent = [];
const reject = () => {
  const reason = one("#reason");
  one("p", ask).textContent = `${chosen[here].names[0]}: ${chosen[here].prompt}`;
  reason.value = "";
  one("#reasons").replaceChildren(...recent.map((text) => Object.assign(make("option"), { value: text })));
  one(".recent").replaceChildren(...recent.slice(0, 6).map((text) => {
    const button = make("button", "", text);
    button.type = "button";
    button.addEventListener("click", () => rejectFor(text));
    return button;
  }));
  ask.showModal();
  reason.focus();
};
// At once: the event of a dialog that closes comes after the next key of whoever types fast.
const rejectFor = (reason) => {
  ask.close();
  if (reason) recent.splice(0, recent.length, reason, ...recent.filter((each) => each !== reason));
  give(chosen[here], "rejected", reason);
  next();
};
one("form", ask).addEventListener("submit", (event) => {
  if (event.submitter?.value !== "reject") return;
  event.preventDefault();
  rejectFor(one("#reason").value.trim());
});
ask.addEventListener("close", () => viewer.open || go(here));

// One picture, large, with all that is known of it.
const showVerdict = (picture) => {
  const state = one(".facts .state", viewer);
  state.className = `state ${picture.verdict}`;
  state.textContent = picture.verdict || "no verdict yet";
  one(".why", viewer).textContent = [picture.reason, picture.reviewer && picture.verdict && !picture.unsaved ? `by ${picture.reviewer}` : ""]
    .filter(Boolean).join(" · ");
  one(".back", viewer).disabled = !picture.verdict;
};
const thumb = (source, alt) => Object.assign(new Image(72, 72), { src: source, alt, decoding: "async" });
const open = async (at) => {
  go(at, false);
  const picture = chosen[here], large = one(".now img", viewer);
  large.src = `/small/${picture.id}`; // there already; the full one takes its place
  large.alt = picture.prompt;
  const full = new Image();
  full.onload = () => { if (chosen[here] === picture) large.src = full.src; };
  full.src = one("a", viewer).href = `/full/${picture.id}`;
  one("#viewer-name").textContent = picture.names.join(", ");
  one(".text", viewer).textContent = picture.prompt;
  one(".opened .steps").textContent = [
    `${picture.own} of ${night.steps} steps on its own`, facts(picture), night.groups[picture.group],
  ].join(" · ");
  showVerdict(picture);
  for (const list of all("ol, ul", viewer)) list.replaceChildren();
  one(".opened").classList.remove("two", "three");
  for (const figure of all(".plain, .before", viewer)) figure.hidden = true;
  if (!viewer.open) viewer.showModal();
  const answer = await fetch(`/pictures/${picture.id}`).catch(() => null);
  if (answer?.ok && viewer.open && chosen[here] === picture) showMore(picture, await answer.json());
};
const showMore = (picture, more) => {
  const seen = more.path.some((each) => each.preview !== null);
  one(".path", viewer).replaceChildren(...more.path.map((each) => {
    const item = make("li");
    if (each.preview !== null) item.append(thumb(`/previews/${each.preview}`, ""));
    else if (seen) item.append(make("span", "absent"));
    item.append(each.pictures > 1 ? `step ${each.stop}\n${number(each.pictures)} share it` : `step ${each.stop}\nits own`);
    return item;
  }));
  one(".beside", viewer).hidden = !more.siblings.length;
  one(".beside", viewer).textContent = `Its siblings, together up to step ${more.shared}`;
  one(".siblings", viewer).replaceChildren(...more.siblings.map((id) => {
    const other = night.byId.get(id), item = make("li"), button = make("button");
    button.type = "button";
    button.title = other.names[0];
    button.append(thumb(`/small/${id}`, `${other.names[0]}: ${other.prompt}`));
    button.addEventListener("click", () => visit(other));
    item.append(button);
    return item;
  }));
  const before = more.before && more.before !== "same";
  one(".opened").classList.toggle("two", Boolean(before) !== Boolean(more.plain));
  one(".opened").classList.toggle("three", Boolean(before && more.plain));
  one(".plain", viewer).hidden = !more.plain;
  if (more.plain) {
    one(".plain img", viewer).src = `/plain/${more.plain}`;
    one(".plain img", viewer).alt = `${picture.names[0]}, made without sharing`;
  }
  one(".before", viewer).hidden = !before;
  if (before) {
    one(".before img", viewer).src = `/full/${more.before}`;
    one(".before img", viewer).alt = `${picture.names[0]}, as it was the night before`;
  }
  one(".past", viewer).hidden = !more.history.length;
  one(".history", viewer).replaceChildren(...more.history.map((each) => make("li", "", [
    each.at.slice(0, 16).replace("T", " "), `${each.verdict} by ${each.reviewer}`, each.reason,
    each.picture === picture.id ? "" : "of an earlier picture",
  ].filter(Boolean).join(" · "))));
};
const visit = (picture) => {
  if (!chosen.includes(picture)) showAll();
  open(chosen.indexOf(picture));
};
const showAll = () => { one(".tools").reset(); choose(); };
viewer.addEventListener("close", () => go(here));
one(".close", viewer).addEventListener("click", () => viewer.close());
one(".previous", viewer).addEventListener("click", () => here && open(here - 1));
one(".next", viewer).addEventListener("click", () => here + 1 < chosen.length && open(here + 1));
one(".accept", viewer).addEventListener("click", accept);
one(".actions .reject", viewer).addEventListener("click", reject);
one(".back", viewer).addEventListener("click", takeBack);
viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());

// Keys.
const page = () => Math.max(1, Math.floor(innerHeight / height)) * columns;
const MOVES = {
  ArrowLeft: () => here - 1, ArrowRight: () => here + 1,
  ArrowUp: () => (here < columns ? here : here - columns),
  ArrowDown: () => (here + columns < chosen.length ? here + columns : here),
  Home: () => 0, End: () => chosen.length - 1, PageUp: () => here - page(), PageDown: () => here + page(),
};
const ACTIONS = { a: accept, r: reject, u: takeBack };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || ask.open || sheet.open) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing || !night.pictures.length) {
    if (typing && event.key === "Escape") { event.target.blur(); go(here); }
    return;
  }
  const action = ACTIONS[event.key.toLowerCase()];
  if (event.key === "/" && !viewer.open) { event.preventDefault(); return one("#words").focus(); }
  if (event.key === "?") { event.preventDefault(); return sheet.showModal(); }
  if (!chosen.length) return;
  if (action) { event.preventDefault(); return event.repeat ? undefined : action(); }
  if (viewer.open) {
    if (event.key === "ArrowLeft" && here) open(here - 1);
    if (event.key === "ArrowRight" && here + 1 < chosen.length) open(here + 1);
    return;
  }
  const inGrid = event.target.closest?.("#grid");
  if (MOVES[event.key] && (inGrid || event.target === document.body)) { event.preventDefault(); go(MOVES[event.key]()); }
  if ((event.key === "Enter" || event.key === " ") && inGrid) { event.preventDefault(); open(here); }
});
grid.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) open(Number(tile.dataset.at));
});
one(".tools").addEventListener("submit", (event) => { event.preventDefault(); go(0); });
one(".tools").addEventListener("change", choose);
one("#words").addEventListener("input", choose);
one("#nothing button").addEventListener("click", showAll);
one("#help").addEventListener("click", () => sheet.showModal());
one("#sheet button").addEventListener("click", () => sheet.close());
addEventListener("scroll", draw, { passive: true });
let width = 0;
new ResizeObserver(() => {
  if (width === grid.clientWidth) return draw();
  const focused = grid.contains(document.activeElement);
  width = grid.clientWidth;
  measure();
  focused ? go(here) : draw();
}).observe(document.body);
addEventListener("resize", draw);

const start = async () => {
  try {
    const answer = await fetch("/night");
    if (!answer.ok) return complain(reasonOf(answer, await answer.text()));
    night = await answer.json();
  } catch {
    return complain("The server does not answer; start `hierdiff review` again.");
  }
  one("#trouble").hidden = true;
  night.pictures = night.pictures.map((line) => {
    const picture = Object.fromEntries(FIELDS.map((name, place) => [name, line[place]]));
    picture.text = [...picture.names, picture.prompt].join(" ").toLowerCase();
    return picture;
  });
  night.byId = new Map(night.pictures.map((each) => [each.id, each]));
  const firsts = new Map();
  for (const each of night.pictures) if (!firsts.has(each.group)) firsts.set(each.group, each.names[0]);
  const options = night.groups.map((title, group) => Object.assign(
    make("option", "", `${firsts.get(group) ?? ""} · ${title}`), { value: group }));
  one("#group").append(...options);
  choose();
  showCounts();
  go(0);
};
start();
